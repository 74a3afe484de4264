# What every node needs: kube-proxy, CoreDNS, the storage provisioner, and a pause container.
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS node
COPY bin/ /usr/local/bin/

# CoreDNS's pod brings arguments only.
FROM node AS coredns
ENTRYPOINT ["/usr/local/bin/coredns"]

# Holds a pod's namespaces and, as their first process, reaps what its containers leave behind.
FROM node AS pause
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/bin/sleep", "infinity"]
