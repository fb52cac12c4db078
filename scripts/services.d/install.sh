# Brings what a service needs onto this machine. Every client checks what it downloads: apt by signature, mvn by
# checksum, npm and pip by the hashes in the files beside this one. Sourced by scripts/services.

# need PROGRAM PACKAGE: from the distribution, where it isn't there yet.
need() {
  command -v "$1" >/dev/null && return
  apt_install "$2" "$1"
}

apt_install() {
  { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } || die "'$2' is missing: install the package '$1' (as root: apt-get install $1)"
  say "installing $1 ..."
  apt-get -o Acquire::Retries=3 update -qq >/dev/null || die "apt-get update failed"
  DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends "$1" >/dev/null || die "apt-get install $1 failed"
}

# filled COMMAND DIR LOG: whether COMMAND has filled an empty DIR.
filled() {
  rm -rf "$2"
  mkdir -p "$2"
  "$1" "$2" > "$3" 2>&1
}

# once NAME VERSION COMMAND: a folder of that name is filled by COMMAND, whole or not at all, and again when VERSION
# changes. What fails is tried once more, as a registry may be slow for a moment.
once() {
  local name="$1" version="$2" command="$3" dir="$downloads/$1"
  [ "$(cat "$dir/.complete" 2>/dev/null)" != "$version" ] || return 0
  mkdir -p "$downloads"
  exec 9> "$downloads/.$name.lock"
  flock 9 # another instance may be at it
  if [ "$(cat "$dir/.complete" 2>/dev/null)" != "$version" ]; then
    say "fetching $name ..."
    rm -rf "$dir"
    filled "$command" "$dir.part" "$downloads/$name.log" || filled "$command" "$dir.part" "$downloads/$name.log" || { grep -E 'ERROR|rror:' "$downloads/$name.log" | head -5 >&2; die "fetching $name failed; see $downloads/$name.log"; }
    mv "$dir.part" "$dir"
    echo "$version" > "$dir/.complete"
  fi
  exec 9>&-
}

fingerprint() { cat "$@" | sha256sum | cut -c1-16; }

java_pom="$parts/java/pom.xml"

java_version() { java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p'; }

need_java() {
  need java openjdk-17-jre-headless
  [ "$(java_version)" -ge 17 ] || die "Java $(java_version) is too old: install 17 or newer"
  need curl curl
  need ps procps
  need flock util-linux
}

# The jars of one profile of the pom, with everything they need. -C refuses what fails its checksum.
fetch_jars() {
  local profile
  profile="$(basename "$1" .part)"
  mvn -B -C -f "$java_pom" -P "$profile" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1"
}

# install_jars PROFILE [COMMAND]
install_jars() {
  [ "$(cat "$downloads/$1/.complete" 2>/dev/null)" = "$(fingerprint "$java_pom")" ] || need mvn maven
  once "$1" "$(fingerprint "$java_pom")" "${2:-fetch_jars}"
}
