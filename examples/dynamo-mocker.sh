#!/bin/sh
# NVIDIA Dynamo's frontend and its mocker worker as one server, without etcd and NATS:
# dynamo-mocker.sh MODEL HOST PORT [arguments of the worker]
set -eu
model=$1 host=$2 port=$3
shift 3
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
trap 'exit 143' TERM INT
export DYN_DISCOVERY_BACKEND=file DYN_FILE_KV="$store" DYN_REQUEST_PLANE=tcp DYN_EVENT_PLANE=zmq
export DYN_TCP_RPC_HOST=127.0.0.1 DYN_TCP_RESPONSE_STREAM_HOST=127.0.0.1
python3 -m dynamo.mocker --model-path "$model" --model-name "$model" "$@" &
python3 -m dynamo.frontend --http-host "$host" --http-port "$port" &
# The server is its frontend: it ends when that does.
wait $!
