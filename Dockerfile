# The `tombola` program and nothing else. The build needs a C compiler, make and OpenSSL's headers, for SQLite and librdkafka.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package tombola --features kafka-tls && cp target/release/tombola /tombola

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/tombola tombola && chmod 755 /var/lib/tombola
COPY --from=build /tombola /usr/local/bin/tombola
USER tombola
WORKDIR /var/lib/tombola
VOLUME /var/lib/tombola
ENTRYPOINT ["tombola"]
CMD ["run", "--data-dir", "/var/lib/tombola"]
