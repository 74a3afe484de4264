# The static programs of the control plane; kubeadm's pods name the one that they run.
FROM scratch
COPY bin/ /usr/local/bin/
ENV PATH=/usr/local/bin
