#!/usr/bin/env bash
# Puts an Apache Kafka (45 jars, 44 MB) into target/kafka/libs for the tests, from Maven Central, by tests/kafka/pom.xml.
# Idempotent: does nothing when this version is there already. KAFKA_VERSION asks for another version than the pom's.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

folder=target/kafka
version=${KAFKA_VERSION:-$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' tests/kafka/pom.xml)}
# The marker names what the folder was made from: the version, and the pom with its other jars.
marker="kafka $version, pom $(cksum <tests/kafka/pom.xml)"

scripts/setup.sh --java
if [ "$(cat $folder/ready 2>/dev/null)" = "$marker" ]; then
    say "Apache Kafka $version is in $folder"
    exit 0
fi
say "fetching Apache Kafka $version with Maven"
# Into a folder of another name first: a fetch that fails leaves what was there, and `libs` is always whole.
partial=$folder.partial
rm -rf $partial
# Maven wants the folder as an absolute path.
mvn --quiet --batch-mode --no-transfer-progress -Dstyle.color=never -f tests/kafka/pom.xml "-Dkafka.version=$version" \
    dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$PWD/$partial/libs" </dev/null >&2 ||
    fail 69 "Maven could not fetch Apache Kafka $version; its messages are above"
compgen -G "$partial/libs/kafka_2.13-$version.jar" >/dev/null ||
    fail 69 "Maven fetched no kafka_2.13-$version.jar into $partial/libs"
rm -rf $folder
mv $partial $folder
printf '%s\n' "$marker" >$folder/ready
say "Apache Kafka $version is in $folder"
