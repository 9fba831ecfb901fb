# From standard input, a topic a line: name, partitions, replicas, then its configuration.
# Arguments: the servers, and where Kafka asks who one is, --command-config FILE.
set -eu
servers=$1
shift
while read -r name partitions replicas configuration; do
  options=
  for setting in $configuration; do
    options="$options --config $setting"
  done
  # shellcheck disable=SC2086  # every option is a word of its own
  kafka-topics.sh --bootstrap-server "$servers" "$@" --create --if-not-exists --topic "$name" \
    --partitions "$partitions" --replication-factor "$replicas" $options </dev/null
done
