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
rm -rf $folder
mkdir -p $folder
# Into a folder of another name first: `libs` is there only when it is whole.
# Maven wants the folder as an absolute path; it colours its output even in a file unless told not to.
mvn --quiet --batch-mode --no-transfer-progress -Dstyle.color=never -f tests/kafka/pom.xml "-Dkafka.version=$version" \
    dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$PWD/$folder/partial" </dev/null >&2 ||
    fail 69 "Maven could not fetch Apache Kafka $version; its messages are above"
compgen -G "$folder/partial/kafka_2.13-$version.jar" >/dev/null ||
    fail 69 "Maven fetched no kafka_2.13-$version.jar into $folder"
mv $folder/partial $folder/libs
printf '%s\n' "$marker" >$folder/ready
say "Apache Kafka $version is in $folder"
