#!/bin/sh
# Asks Kafka Streams every question of ../tests/vectors again, and compares the answers with what is checked in.
#
#   ./regenerate.sh              all families
#   ./regenerate.sh 18 40        these families; 00 is the random one, 41 is hand-made alone
#   KEEP=DIR ./regenerate.sh     leaves the new vectors in DIR
#
# Needs Java 17 and Maven. The exit code is 1 if an answer differs.
set -eu
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
new=${KEEP:-$work/vectors}
mkdir -p "$new"

mvn -q package
oracle() { java -cp 'target/oracle-1.jar:target/lib/*' millstream.oracle.Oracle "$@"; }

if [ $# -eq 0 ]; then
    set -- $(seq -w 0 41)
fi
differing=0
for family in "$@"; do
    for golden in ../tests/vectors/"$family"-*.jsonl.gz; do
        name=$(basename "$golden" .jsonl.gz)
        answers=$work/$name.jsonl
        : > "$answers"
        if [ -f "scenarios/public/$name.txt" ]; then
            oracle check "scenarios/public/$name.txt" "$answers"
        fi
        case $family in
            00) oracle fuzz --family random --seed 1 --count 1050 --threads "$(nproc)" --append "$answers" ;;
            41) ;;
            *) oracle fuzz --family "$family" --seed 1 --count 150 --threads "$(nproc)" --append "$answers" ;;
        esac
        gzip -9n < "$answers" > "$new/$name.jsonl.gz"
        gzip -dc "$golden" > "$work/golden"
        if cmp -s "$work/golden" "$answers"; then
            echo "$name: equal, $(wc -l < "$answers") scenarios"
        else
            echo "$name: DIFFERS"
            diff "$work/golden" "$answers" | cut -c 1-200 | head -20
            differing=1
        fi
    done
done
exit $differing
