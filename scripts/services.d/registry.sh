# Apicurio Registry, for its Confluent-compatible API. Sourced by scripts/services.

registry_install() { need_java; install_jars registry fetch_registry; }

# Maven notes what it has unpacked in the project's target folder and skips it the next time, wherever that was to go:
# so the project is a copy beside what it fetches.
fetch_registry() {
  cp "$java_pom" "$1/pom.xml"
  mvn -B -C -f "$1/pom.xml" -P registry dependency:unpack -DoutputDirectory="$1"
  ls "$1"/apicurio-registry-app-*-runner.jar
  rm -rf "$1/pom.xml" "$1/target"
}

# Schemas are kept in a file, so that their ids survive a kill.
registry_start() {
  mkdir -p "$state/data/registry"
  launch registry java -Xmx192m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError \
    -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$registry_port" \
    -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 \
    -Dapicurio.datasource.url="jdbc:h2:file:$state/data/registry/schemas" \
    -jar "$downloads/registry/"apicurio-registry-app-*-runner.jar
}

registry_ready() { get "http://127.0.0.1:$registry_port/apis/ccompat/v7/subjects"; }

registry_endpoints() {
  echo "REGISTRY_URL=http://127.0.0.1:$registry_port/apis/ccompat/v7"
  echo "CONNECT_REGISTRY_URL=$connect_registry_url"
}
