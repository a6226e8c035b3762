# The control plane.
# The program is static and lies at dist/linux-ARCHITECTURE/smilax-operator (`make images`).
FROM scratch
ARG TARGETARCH
ARG VERSION
ARG BINARY=dist/linux-${TARGETARCH}/smilax-operator
LABEL org.opencontainers.image.title="smilax-operator" \
      org.opencontainers.image.description="The control plane of the Smilax service mesh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY ${BINARY} /smilax-operator
USER 65532:65532
ENTRYPOINT ["/smilax-operator"]
