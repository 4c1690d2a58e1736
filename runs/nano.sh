#!/usr/bin/env bash
# nano, from nothing to weights: fonts and text, the sheet to look at, training, a page that is read.
#
#   runs/nano.sh [FOLDER]     interrupt it and start it again at will: it goes on where it was
#
# Public-domain novels of your own make the text richer: put novels-<language>.txt into
# FOLDER/text before training (docs/train.md).
set -euo pipefail

cd "$(dirname "$0")/.."
work="${1:-build}"

pip install -e '.[train]'
[ -e "$work/fonts/faces.json" ] || lightseek synth fetch -o "$work" --no-text
# the file that is written last
[ -e "$work/text/pt-records.txt.xz" ] || lightseek synth fetch -o "$work" --no-fonts
lightseek synth sheet "$work/sheet.png" --fonts "$work/fonts" --text "$work/text"
lightseek train configs/nano.toml -o "$work/nano" \
    --set data.fonts="'$work/fonts'" --set data.text="'$work/text'"
lightseek read examples/letter.png --model "$work/nano/model"
