# One recipe for the image of each service: `make images`, or
#
#   docker build --build-arg SERVICE=user_creation --tag seaway/user-creation .
#
# The image holds Python, the service with what its own lock names, and the shared libraries that
# these load: no shell, no package manager, no compiler. See docs/operate.md, "Images".

# A Python on Debian, by tag here; what is released is built from a digest:
#   --build-arg BASE_IMAGE=python:3.12-slim-bookworm@sha256:…
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_CACHE_DIR=/build/cache
# What changes seldom comes first, and what all images share is made once. The secret `pip` is a
# pip.conf, if your index is not pip's own: it is nowhere in the image, nor is an address from it.
COPY deploy/images/build.lock /build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/build/cache \
    python3 -m venv /build/tools \
 && /build/tools/bin/pip install -q --only-binary :all: --require-hashes -r /build/build.lock

FROM tools AS shared
COPY proto /build/proto
COPY platform /build/platform
RUN cd /build && tools/bin/pip wheel -q --no-index --no-deps --no-build-isolation -w shared \
      ./proto ./platform

FROM tools AS build
# The folder of the service; of the monitor, which is a part of the platform: MEMBER=platform and
# MODULE=seaway.monitor.
ARG SERVICE
ARG MEMBER=services/${SERVICE}
ARG MODULE=${SERVICE}
# nkeys is published as source only: it is built with the tools above, and fetches none.
COPY ${MEMBER}/requirements.lock /build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/build/cache \
    /build/tools/bin/pip wheel -q --no-deps --no-build-isolation --only-binary :all: \
      --no-binary nkeys --require-hashes -r /build/requirements.lock -w /build/wheels
COPY ${MEMBER} /build/${MEMBER}
RUN cd /build && tools/bin/pip wheel -q --no-index --no-deps --no-build-isolation -w wheels \
      ./${MEMBER}
COPY --from=shared /build/shared /build/wheels
RUN python3 -m venv --without-pip /opt/seaway \
 && /build/tools/bin/pip --python /opt/seaway/bin/python install -q --no-index --no-deps \
      --no-compile /build/wheels/*.whl
COPY deploy/images/root.py /build/
RUN python3 /build/root.py --module "${MODULE}" --into /root-of-image

FROM scratch
ARG SERVICE
ARG BASE_IMAGE
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.title="seaway ${SERVICE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
COPY --from=build /root-of-image /
# It keeps nothing outside /var/lib/seaway, and needs that only with SQLite or a table in a folder:
# the root may be read-only. It handles SIGTERM itself, as the only process there is.
ENV PATH=/opt/seaway/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    GRPC_VERBOSITY=ERROR \
    SEAWAY_PRODUCTION=true \
    SEAWAY_METRICS_HOST=0.0.0.0 \
    SEAWAY_METRICS_PORT=9090 \
    SEAWAY_GRPC_HOST=0.0.0.0 \
    SEAWAY_WEB_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/seaway
EXPOSE 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/seaway/bin/service"]
