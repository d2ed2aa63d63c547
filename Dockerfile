# wedcache as a small image: built with Rust, run on Debian without it, not as root.
FROM rust:1.95-slim-bookworm AS build
# librdkafka is C, and configures itself only with a C++ compiler at hand. OpenSSL is the system's:
# building its own would take longer than all the rest.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# What `wedcache --version` says: there is no git in here.
ARG WEDCACHE_COMMIT=
ARG WEDCACHE_COMMIT_DATE=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --features kafka-ssl --bin wedcache \
 && cp target/release/wedcache /usr/local/bin/wedcache

FROM debian:bookworm-slim
# curl for the health check, certificates for the AI providers and for Kafka, OpenSSL for Kafka.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --create-home --home-dir /var/lib/wedcache wedcache
COPY --from=build /usr/local/bin/wedcache /usr/local/bin/wedcache
COPY topologies /etc/wedcache/topologies
USER wedcache
WORKDIR /var/lib/wedcache
VOLUME /var/lib/wedcache
ENV WEDCACHE_LISTEN=0.0.0.0:9464
ENV WEDCACHE_DATA=/var/lib/wedcache
ENV WEDCACHE_TOPOLOGY=/etc/wedcache/topologies/wedsync.yaml
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD curl -fsS http://127.0.0.1:9464/livez
ENTRYPOINT ["wedcache"]
CMD ["run"]
