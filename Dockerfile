# The gateway as a container.
#
#   docker build -t dicom-router .
#   docker run -d --name router --stop-timeout 45 --read-only --tmpfs /tmp \
#     -p 104:11112 -v dicom-router:/var/lib/dicom-router -v /etc/dicom-router:/etc/dicom-router:ro dicom-router
#
# /etc/dicom-router/router.yaml is the configuration (data_dir: /var/lib/dicom-router). Without one of your own
# deploy/container.yaml stands there: it answers C-ECHO, and takes no image before you say from whom.
# The volume is the queue: whoever deletes it loses what is not delivered.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY router router
RUN python -m venv /opt/dicom-router \
 && /opt/dicom-router/bin/pip install --no-cache-dir --disable-pip-version-check ".[codecs]" \
 && /opt/dicom-router/bin/pip uninstall --yes --quiet pip \
 && /opt/dicom-router/bin/python -m compileall -q /opt/dicom-router/lib

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/dicom-router /opt/dicom-router
COPY deploy/container.yaml /etc/dicom-router/router.yaml
# A number, so that an orchestrator can see that it is not root; folders that are mounted must belong to it.
RUN install -d -m 0750 -o 10104 -g 10104 /var/lib/dicom-router
ENV PATH=/opt/dicom-router/bin:$PATH PYTHONUNBUFFERED=1
USER 10104:10104
WORKDIR /var/lib/dicom-router
VOLUME /var/lib/dicom-router
EXPOSE 11112 8080
# SIGTERM drains ('drain: 30s'): give it --stop-timeout 45, or terminationGracePeriodSeconds.
STOPSIGNAL SIGTERM
# Where http has another port, or TLS: --health-cmd, or the orchestrator's own probes of /healthz and /readyz.
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["dicom-router"]
CMD ["serve", "-c", "/etc/dicom-router/router.yaml"]
