# The pod that talks in end-to-end tests and demos.
# The program is static and lies at dist/linux-ARCHITECTURE/smilax-testapp (`make images`).
FROM scratch
ARG TARGETARCH
ARG VERSION
ARG BINARY=dist/linux-${TARGETARCH}/smilax-testapp
LABEL org.opencontainers.image.title="smilax-testapp" \
      org.opencontainers.image.description="The test application of the Smilax service mesh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY ${BINARY} /smilax-testapp
USER 65532:65532
ENTRYPOINT ["/smilax-testapp"]
