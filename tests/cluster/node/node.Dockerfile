# A machine for kind: systemd, containerd, kubeadm, kubelet, and the images of Kubernetes' own pods to import at boot.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG KUBERNETES
COPY bin/ /usr/bin/
COPY entrypoint kubelet-cgroups load-images /usr/local/bin/
COPY containerd.toml /etc/containerd/config.toml
COPY kubelet.service load-images.service /etc/systemd/system/
COPY storage.yaml /kind/manifests/default-storage.yaml
COPY images/ /kind/images/
# No udev, consoles, clock or resolver: those belong to the machine underneath.
RUN mkdir -p /etc/cni/net.d /opt/cni \
 && ln -s /usr/lib/cni /opt/cni/bin \
 && echo "${KUBERNETES}" > /kind/version \
 && rm -f /etc/machine-id /lib/systemd/system/multi-user.target.wants/getty.target \
 && systemctl set-default multi-user.target \
 && systemctl enable containerd kubelet load-images \
 && systemctl mask systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
    getty.target console-getty.service systemd-timesyncd.service systemd-resolved.service
ENV container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/entrypoint"]
