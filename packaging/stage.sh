#!/usr/bin/env bash
# Lays out what a package holds beside the programs: packaging/stage.sh ARCH...
# Manual pages and completions are written by the programs of this machine's architecture.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/setting.sh"
cd "$root"
own=$(built "$(uname -m)")
for program in "${programs[@]}"; do
    [ -x "$own/$program" ] || fail "no $own/$program: run packaging/build.sh $(uname -m) first"
done
for arch in "$@"; do
    stage=$work/stage/$arch
    rm -rf "$stage"
    for program in "${programs[@]}"; do
        # As below a prefix: PREFIX/bin, PREFIX/share.
        prefix=$stage/$program
        share=$prefix/share
        mkdir -p "$prefix/bin" "$share"/{man,bash-completion/completions,zsh/site-functions} \
            "$share"/{fish/vendor_completions.d,doc/"$program"}
        install -m 755 "$(built "$arch")/$program" "$prefix/bin/"
        # The profile `dist` has none; this machine's tool knows its own architecture only.
        [ "$arch" != "$(uname -m)" ] || strip "$prefix/bin/$program"
        "$own/$program" man --out "$share/man/man1" >/dev/null
        gzip -9n "$share"/man/man1/*
        "$own/$program" completions bash >"$share/bash-completion/completions/$program"
        "$own/$program" completions zsh >"$share/zsh/site-functions/_$program"
        "$own/$program" completions fish >"$share/fish/vendor_completions.d/$program.fish"
        cp README.md CHANGELOG.md "$share/doc/$program/"
        gzip -9n "$share/doc/$program/CHANGELOG.md"
        # Debian's form of the changelog; what changed is in the other one.
        printf '%s (%s-1) stable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- %s  %s\n' \
            "$program" "$version" "The edge-vae developers <developers@edge-vae.example>" \
            "$(date -R -u --date="@$SOURCE_DATE_EPOCH")" >"$prefix/changelog"
        packaging/sbom.py "$program" "$(triple "$arch")" "$share/doc/$program/$program.cdx.json"
    done
    mkdir -p "$stage/edge-vae/share/edge-vae/models" "$stage/edge-vae/share/edge-vae/frames"
    cp -r models/surface models/digits28 "$stage/edge-vae/share/edge-vae/models/"
    cp examples/frames/*.png "$stage/edge-vae/share/edge-vae/frames/"
    find "$stage" -type d -exec chmod 755 {} +
    find "$stage" -type f ! -path '*/bin/*' -exec chmod 644 {} +
    ln -sfn "$arch" "$work/stage/current"
    find "$stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
done
