# The taskrunner image: operator, webhook and command line in one.
#
#   docker build -t taskrunner .
#
# Every Python package is pinned and checked by hash (requirements/*.txt). Where they come from is
# the one thing that differs between machines, and it is never written here:
#   - as it stands, pip asks its usual index;
#   - without a network, put the wheels into requirements/wheelhouse/ (`pip download -d …`) and
#     pass `--build-arg PIP_NO_INDEX=1`: pip then takes nothing from elsewhere. The test bed builds
#     this way (tools/testbed/image.py), with the package index and certificates of the machine.
# A wheelhouse inside the build context works the same with docker and buildah, leaves no index,
# proxy or certificate in any layer, and needs no network during the build.

# Pin a digest by appending it: --build-arg BASE_IMAGE=python:3.11-slim-bookworm@sha256:…
# Any image with Python 3.11 and its venv module will do.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
ARG PIP_NO_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_FIND_LINKS=/build/requirements/wheelhouse
WORKDIR /build
COPY requirements/ requirements/
# Two environments: the one that builds stays behind; /opt/taskrunner has not even pip.
RUN mkdir -p requirements/wheelhouse \
 && python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/taskrunner \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/taskrunner/bin/python install \
      --require-hashes --only-binary :all: -r requirements/runtime.txt

FROM dependencies AS build
COPY pyproject.toml README.md LICENSE ./
COPY operator/ operator/
# Installed under another root, so that our own code is a small layer on top of the dependencies.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/dist . \
 && /opt/build/bin/pip --python /opt/taskrunner/bin/python install --no-index --no-deps \
      --no-warn-script-location --root /code /tmp/dist/*.whl

FROM ${BASE_IMAGE}
# The base's own installers are of no use at run time; scanners and attackers need not find them.
RUN rm -rf /usr/local/lib/python3.*/site-packages/pip* \
           /usr/local/lib/python3.*/site-packages/setuptools* \
           /usr/local/lib/python3.*/site-packages/wheel* \
           /usr/local/lib/python3.*/ensurepip /usr/lib/python3.*/ensurepip \
           /usr/local/bin/pip* /usr/share/python-wheels
COPY --from=dependencies /opt/taskrunner /opt/taskrunner
# Nothing is written outside /tmp, so the root file system can be read-only: the byte code was
# compiled by pip above. An empty PYTHONTZPATH makes zoneinfo take the pinned tzdata package
# whatever zone data the base has.
ENV PATH=/opt/taskrunner/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONTZPATH=""
# A number, so that the kubelet can see that it is not root (runAsNonRoot).
USER 65532:65532
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="taskrunner" \
      org.opencontainers.image.description="Runs tasks on Kubernetes on time, and can prove afterwards what it did with every slot." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENTRYPOINT ["taskrunner"]
# Last, as it is what changes.
COPY --from=build /code/ /
