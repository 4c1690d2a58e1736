#!/usr/bin/env bash
# The tables of README.md and docs/results.md: every set of some folders, nano beside its peers.
#
#   runs/results.sh DIR...        the report with all texts is left in build/results.json
#   BY_PAGE="DIR..." runs/...     the second table too: eight files of each, Tesseract once a page
#
# Times count what else the machine does: leave it alone while this runs.
set -euo pipefail

command -v tesseract >/dev/null || { echo "apt-get install tesseract-ocr tesseract-ocr-fra" >&2; exit 2; }
[ $# -gt 0 ] || { echo "usage: runs/results.sh DIR..." >&2; exit 2; }
report="$(cd "$(dirname "$0")/.." && pwd)/build/results.json"

pip install -e "$(dirname "$0")/..[peers]"
mkdir -p "$(dirname "$report")"
# 1 says that pages failed, which the table tells
lightseek eval "$@" --engine nano --engine tesseract --engine rapidocr --json > "$report" || [ $? -eq 1 ]
reports=("$report")
if [ -n "${BY_PAGE:-}" ]; then
    reports+=("${report%.json}-by-page.json")
    # shellcheck disable=SC2086  # several folders
    lightseek eval $BY_PAGE --limit 8 --engine nano --engine tesseract --engine tesseract-by-page \
        --json > "${reports[1]}" || [ $? -eq 1 ]
fi
python "$(dirname "$0")/results.py" "${reports[@]}"
