# An image of one static program of this cluster. The build context is the folder that holds the program.
FROM scratch
ARG PROGRAM
COPY ${PROGRAM} /program
ENTRYPOINT ["/program"]
