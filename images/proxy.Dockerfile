# The sidecar. Its user is the one whose traffic is never redirected.
# The program is static and lies at dist/linux-ARCHITECTURE/smilax-proxy (`make images`).
FROM scratch
ARG TARGETARCH
ARG VERSION
ARG BINARY=dist/linux-${TARGETARCH}/smilax-proxy
LABEL org.opencontainers.image.title="smilax-proxy" \
      org.opencontainers.image.description="The sidecar proxy of the Smilax service mesh" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY ${BINARY} /smilax-proxy
USER 2102:2102
ENTRYPOINT ["/smilax-proxy"]
