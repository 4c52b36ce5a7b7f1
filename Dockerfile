# The images of this project. `make image` builds the same content without a container engine, from this very file: it
# runs the commands of the build stage on the machine and assembles the layers that the last stages name.
#
#   docker build --target registry .
#   docker build --target operator .
FROM golang:1.26 AS build
ARG VERSION=dev
ARG OUT=/out
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X packregistry.dev/server.Version=${VERSION}" -o ${OUT}/registry ./cmd/registry
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o ${OUT}/operator ./cmd/operator

# The registry names no user: documented `docker run` lines mount files that only root can read. The operator runs it as
# 65532, with a read-only root.
FROM scratch AS registry
LABEL org.opencontainers.image.title="PackRegistry registry"
COPY --from=build /out/registry /registry
COPY server/config/default.yml /etc/spectro/config.yml
EXPOSE 5000
ENTRYPOINT ["/registry"]
CMD ["serve", "/etc/spectro/config.yml"]

FROM scratch AS operator
LABEL org.opencontainers.image.title="PackRegistry operator"
COPY --from=build /out/operator /operator
USER 65532:65532
ENTRYPOINT ["/operator"]
