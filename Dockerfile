# pghaul as an image: `docker build -t pghaul .`, then `docker run pghaul serve …`.
#
# The second stage is PostgreSQL's own image, because pghaul needs pg_dump of the source's major
# version or newer; its server is never started.

FROM rust:1.95-trixie AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p pghaul-cli \
 && strip target/release/pghaul

FROM postgres:18-trixie
RUN useradd --system --uid 8432 --create-home --home-dir /var/lib/pghaul --shell /usr/sbin/nologin pghaul
COPY --from=build /src/target/release/pghaul /usr/local/bin/pghaul
USER 8432:8432
# The state of a runtime server: keep it on a volume, or a restart forgets all migrations.
VOLUME /var/lib/pghaul
WORKDIR /var/lib/pghaul
EXPOSE 8432
# The server stops at SIGTERM and asks its migrations to keep their progress.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/pghaul"]
CMD ["--help"]
