# Bindery in a container: one volume, ports 80 and 443, a user without rights.
# Without an engine at hand, `make check-container` runs these same steps on the machine's own Debian and Python.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
# Before the code, so that a change of code does not install everything again.
COPY requirements.txt ./
RUN python -m venv /venv && /venv/bin/pip install --quiet --requirement requirements.txt
COPY manage.py LICENSE ./
COPY portal ./portal
COPY certs ./certs
COPY templates ./templates
COPY static ./static
# The user below may not write here, so the bytecode is made now.
RUN /venv/bin/python -m compileall -q /venv /app

FROM python:3.11-slim
# The number is fixed: it owns what lies in the volume, and orchestrators want to see that it is not 0.
RUN groupadd --gid 10001 bindery \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin bindery \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BINDERY_HOME=/data \
    BINDERY_HTTP_PORT=80 \
    BINDERY_HTTPS_PORT=443
WORKDIR /app
USER 10001:10001
VOLUME /data
# This user may listen below 1024 because Docker (20.10 and newer) sets net.ipv4.ip_unprivileged_port_start=0 inside the
# container; compose.yaml says so explicitly for engines that do not. With the host's network that setting is the host's:
# choose other ports there, with BINDERY_HTTP_PORT and BINDERY_HTTPS_PORT.
EXPOSE 80 443
# Long enough to finish the requests under way and the step of an order that is being taken.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s --retries=3 \
    CMD ["python", "-m", "portal.healthcheck"]
ENTRYPOINT ["python", "manage.py"]
CMD ["up"]
