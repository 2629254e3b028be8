#!/usr/bin/env bash
# A force field from a pile of frames, as the documentation says: prune, train, evaluate on what was left out, validate.
#
#     full_run.sh DATA.extxyz FOLDER [KEEP [TRAIN_OPTION...]]
#
# KEEP is 0.5 unless given. What is dropped by pruning is the test set: no frame of it was learned from.
set -euo pipefail
data=$1 folder=$2 keep=${3:-0.5}
shift $(($# < 3 ? $# : 3))
mkdir -p "$folder"
name=$(basename "$data" .extxyz)
kept=$folder/$name.pruned.extxyz rest=$folder/$name.rest.extxyz model=$folder/$name.model

mlff-curate prune "$data" -o "$kept" --keep "$keep" --overwrite
python3 - "$data" "${kept%.extxyz}.manifest.csv" "$rest" <<'PYTHON'
import csv
import sys

from ase.io import read, write

data, manifest, rest = sys.argv[1:]
with open(manifest) as stream:
    dropped = [int(row["index"]) for row in csv.DictReader(stream) if row["decision"] == "dropped"]
frames = read(data, ":")
write(rest, [frames[i] for i in dropped], format="extxyz")
PYTHON
mlff-curate train "$kept" -o "$model" --overwrite "$@"
mlff-curate evaluate "$model" "$rest"
mlff-curate validate "$model" --data "$data" --quick --overwrite -o "$folder/$name.validation" || test $? -eq 1
