# Purser alone, on nothing: no shell, no package, no root. The build is the
# Makefile's.
#
#	docker build --build-arg VERSION=1.2.3 -t purser .
#
# There is no HEALTHCHECK: what is well depends on the configuration. A gateway
# says so at /readyz; docker-compose.yml has an example without curl.
FROM golang:1.26.8-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN make build VERSION="$VERSION"
# What a user of this number may write into; a volume made here is theirs.
RUN mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/purser /usr/bin/purser
COPY --from=build --chown=65532:65532 /data /data
# A number, so that a cluster can see that it is not root.
USER 65532:65532
ENV HOME=/data XDG_CONFIG_HOME=/data XDG_DATA_HOME=/data PATH=/usr/bin
WORKDIR /data
ENTRYPOINT ["/usr/bin/purser"]
CMD ["--help"]
