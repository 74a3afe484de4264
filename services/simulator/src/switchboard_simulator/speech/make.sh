#!/bin/sh
# Makes the clips of manifest.json again: needs Debian's flite, sox, lame and jq. Run it in this directory.
set -eu
jq -r '.[] | [.file, .mp3, .voice, .text] | @tsv' manifest.json | while IFS="$(printf '\t')" read -r wav mp3 voice text; do
    # The kal voice exists at 8 and at 16 kHz; the better one is resampled like the others.
    [ "$voice" = kal ] && voice=kal16
    flite -voice "$voice" -t "$text" -o speech.tmp.wav </dev/null
    sox speech.tmp.wav -r 8000 -b 16 -c 1 "$wav" gain -n -3
    lame --quiet -b 16 -m m --resample 8 "$wav" "$mp3"
done
rm -f speech.tmp.wav
