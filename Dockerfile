# The daemon alone; its Postgres is another container (docker-compose.yml) or a managed service.
FROM debian:12-slim AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
       build-essential pkg-config libpq-dev libmicrohttpd-dev libgnutls28-dev libjansson-dev libyaml-dev \
       zlib1g-dev libcurl4-openssl-dev libxxhash-dev librdkafka-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make -j"$(nproc)" all && strip build/plumbline

FROM debian:12-slim
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
       ca-certificates curl libpq5 libmicrohttpd12 libgnutls30 libjansson4 libyaml-0-2 zlib1g libcurl4 \
       libxxhash0 librdkafka1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 8190 --home-dir /nonexistent --shell /usr/sbin/nologin plumbline \
    && install -d -o plumbline -g plumbline -m 0700 /var/lib/plumbline
COPY --from=build /src/build/plumbline /usr/local/bin/plumbline
# The spool: what is acknowledged while Postgres is away must outlive the container.
ENV PLUMBLINE_DATA_DIR=/var/lib/plumbline
VOLUME /var/lib/plumbline
USER plumbline
EXPOSE 8190
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8190/healthz"]
ENTRYPOINT ["plumbline"]
CMD ["serve"]
