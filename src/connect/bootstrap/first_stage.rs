//! The line of shell that receives an image and executes it.
//!
//! It runs under whatever `sh` the machine has, after whatever login shell the
//! account has, and needs `uname mkdir rmdir chmod rm` and either `head -c` or `dd`.
//! It travels in single quotes as one argument, so it has no `'`, no newline,
//! no backslash before a backslash or a quote mark (fish), and no `!` before
//! anything but `;` or a space (csh and tcsh expand `!word` even inside single
//! quotes).
//!
//! What it prints on stdout, each as one line:
//!
//! - `TOKEN SYSTEM MACHINE DECOMPRESSOR READER INTERPRETER |PLACE|DIR|REASON|DIR|REASON...`
//! - `TOKEN failed SIZE [REASON]`, preceded by whatever the tools complained of
//! - `TOKEN failed eof`: stdin was at its end before a request came
//!
//! What it reads: `BYTES DECOMPRESSOR MEMFD_NUMBER SIZE NAME`, a newline, and
//! `BYTES` bytes of image, which unpack to `SIZE` bytes. Where the place turns
//! out too small for them, the line takes the next one, announces itself again,
//! and is sent the image again.
//!
//! The image finds itself open on descriptor 9 and is started as
//! `NAME offshoot-child:A:B DIRECTORY WATCHER`. It removes `DIRECTORY` with all
//! that is in it, takes it off the front of `PATH`, and kills and reaps the
//! process `WATCHER`, which is its own child. `WATCHER` is empty if there is
//! none; in the routes through memory both are, as there is nothing to remove.
//!
//! # Whose the directory is
//!
//! Every user of the machine can read the arguments of a process, and may make
//! directories where the line does. So the directory's name ends in random
//! characters that no argument holds before the directory is made; and `mkdir`,
//! which fails where there is something by that name, decides whose it is. A
//! directory is emptied only from within, and only if it belongs to the own
//! user and has that name itself, not by way of a link. Without `/dev/urandom`
//! the name can be guessed, and the rest still holds.
//!
//! # Into a container that has no shell, or too little beside it
//!
//! There the line runs on this side, beside the engine's client: it says what
//! the container's machine is, and has the client copy the directory in and
//! execute the image, which removes the copy as soon as it runs. Whoever may
//! not remove it is helped by a sweeper, which runs the image once more, as
//! root, when the directory on this side is gone or this process is; so the
//! parent removes that directory when the child is up.
//!
//! # The cache
//!
//! A line that may keep images adds `+` to `DECOMPRESSOR` where there is a
//! program that hashes, and reads `BYTES DECOMPRESSOR MEMFD_NUMBER SIZE SHA256
//! NAME`. With 0 for `BYTES` it takes the image from the cache, and announces
//! itself again, without the `+`, if it has not got it.
//!
//! Cached files are named by their digests, and nothing else about them is
//! believed: at every use the file is copied into the private directory, and
//! the copy is hashed and then executed. So it does not matter who else can
//! write there, or what a crash has left. Files are renamed into place, and the
//! three newest are kept beside the new one.

use crate::connect::bootstrap::Nonce;

/// The whole line, made for one connection. `cache`: whether it may keep the
/// image, and use one that was kept.
///
/// `copying`: shell functions that bring an image to where the line cannot run:
/// `m` sets `u` to system and processor, and `v` to the directory there that
/// takes the copy, if it is not `/`; `y` copies the directory `$p` to `$v/$f`,
/// `e` executes a command there and `r` runs it as root.
pub(crate) fn first_stage(nonce: &Nonce, cache: bool, copying: Option<&str>) -> String {
    let [a, b] = nonce.halves();
    let mut line = SECTIONS.concat().replace("@A@", a).replace("@B@", b);
    line = match copying {
        Some(_) => line.replace("@4@", "m;").replace("@X@", COPY_AND_EXEC),
        None => line.replace("@X@", EXEC),
    };
    for (mark, section) in CACHE {
        line = line.replace(mark, if cache { section } else { "" });
    }
    // Last, as what is in it may look like anything.
    match (copying, line.split_once(';')) {
        (Some(functions), Some((token, rest))) => format!("{token};{functions}{rest}"),
        _ => line,
    }
}

/// Whether such a line is in a process's arguments.
#[cfg(any(target_os = "linux", test))]
pub(crate) fn holds_first_stage(argv: &[u8]) -> bool {
    const FORM: &[u8] = b"A=0000000000000000 B=0000000000000000;";
    argv.windows(FORM.len()).any(|words| {
        FORM.iter().zip(words).all(|(form, byte)| if *form == b'0' { byte.is_ascii_hexdigit() } else { form == byte })
    })
}

/// A line such as that as a command for a login shell, or for `ssh`.
///
/// `shell` is a piece of shell command such as `sh` or `busybox sh`, and is
/// passed on as it is.
pub(crate) fn login_command(shell: &str, line: &str) -> String {
    // The command must not begin with `exec`, which a restricted shell refuses.
    format!("{shell} -c '{line}'")
}

/// The parts of the line, in the order in which they run.
const SECTIONS: [&str; 17] = [
    // The token stands here in two halves only: argv is repeated by `ps`, by
    // `ssh -v` and by error texts, which could then be taken for the token.
    "A=@A@ B=@B@;@1@",
    // An exported SHELLOPTS may have brought any of these options along. Where
    // to try is kept in "$@", since a home directory may contain spaces.
    r#"set +Ceuvx -f -- @2@"${XDG_RUNTIME_DIR-}" /dev/shm /tmp /var/tmp "${HOME-}" .;"#,
    // The shell's own stderr is not redirected, so that one that may open too few
    // files can still say so. Only `od` prints text, and without it what is no letter is skipped. One
    // shell takes random bytes for characters of several bytes, which costs it
    // most of them.
    concat!(
        "f=.offshoot-$A-$$;p=;o=;e=;x=$(exec 2>/dev/null;od -An -tx1 -N16 /dev/urandom||head -c 64 </dev/urandom||",
        "dd bs=64 count=1 </dev/urandom);",
        r#"while [ "$x" ];do y=${x#?};x=${x%"$y"};case $x in "#,
        "[abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789])f=$f$x;;esac;x=$y;done;",
    ),
    // `i` enters a directory if it is the line's own, `v` removes it. A pattern
    // that matches nothing would end zsh.
    concat!(
        r#"i(){ cd -P "$1"&&[ -O . ]&&[ "${PWD##*/}" = "$f" ];};"#,
        r#"v(){ (i "$1"&&{ rmdir "../$f"||{ set +f;rm -f -- *;rmdir "../$f";};}) >/dev/null 2>&1;};"#,
    ),
    // The watcher removes the directory when this process is gone (exec keeps
    // the pid, so that covers the image too), and ends when the directory has
    // been there and is gone. It is begun before the directory is made: begun
    // after, a kill in between leaves the directory behind. Without a `sleep`
    // it gives up, as it would spin. (In parentheses it would be the child of
    // what yash calls $!.)
    concat!(
        r#"{ trap "" HUP INT TERM;s=;while sleep .3||sleep 1||exit;kill -0 $$;do "#,
        r#"for d do [ -O "$d/$f" ]&&s=1&&continue 2;done;[ "$s" ]&&exit;done;"#,
        r#"for d do v "$d/$f";done;} </dev/null >/dev/null 2>&1&w=$!;@3@"#,
    ),
    "z=-;for c in gzip zstd;do command -v $c >/dev/null 2>&1&&z=$c;done;",
    // perl executes through /proc/self/fd, python3 by descriptor.
    concat!(
        "i=none;command -v python3 >/dev/null 2>&1&&i=python3;",
        "[ -d /proc/self/fd ]&&command -v perl >/dev/null 2>&1&&i=perl;",
    ),
    // Whether `head` knows -c shows in passing.
    concat!(
        r#"h=head;u=$(uname -sm|head -c 99 2>/dev/null);"#,
        r#"[ "$u" ]||{ h=dd;command -v dd >/dev/null 2>&1||h=none;u=$(uname -sm);};@4@"#,
    ),
    r#"q(){ [ "$p" ]&&v "$p";exit 1;};while :;do k=-;"#,
    // The next place where a file can be made and executed. The file is a shell
    // script of no commands, and 126 the one status that means "no": busybox
    // without /proc says 127 for it. What `mkdir` has not made is left alone:
    // that is status 125. A colon would split PATH. `:` instead of
    // `echo` would end some shells where the file cannot be made.
    concat!(
        r#"[ "$p" ]||while [ $# -gt 0 ];do d=$1;shift;case $d in ""|*:*)continue;;esac;p=$d/$f;"#,
        r#"x=$(exec 2>&1;mkdir -m 700 "$p"||exit 125;[ -O "$p" ]||{ echo another owner;exit 126;};"#,
        r#"echo >"$p/t"&&chmod 700 "$p/t"||exit 126;"$p/t");"#,
        r#"case $? in 125);;126)v "$p";;*)break;;esac;e="$e|$d|$x";p=;done;"#,
    ),
    // Not before there is another one: the watcher would take it for the end.
    r#"[ "$o" ]&&v "$o";o=;"#,
    // $u and $e are not quoted, so that newlines in them become spaces.
    r#"echo $A$B ${u:-- -} $z@5@ $h $i "|${p:-none}"$e;"#,
    // The watcher would remove the directory too, but only in a while. One read
    // of a larger block from a pipe returns what is there, so dd has to read byte
    // by byte to count right. What cannot be taken is read all the same, so that
    // the next line is the next line.
    concat!(
        r#"read -r n z y s @6@N||{ [ "$p" ]&&v "$p";[ "$n" ]||echo $A$B failed eof;exit 1;};"#,
        // To ksh a word is a number, too, if it is a variable's name.
        r#"case $n:$y:$s in [0-9]*:[0-9]*:[0-9]*);;*)q;;esac;"#,
        r#"{ [ "$n" -ge 0 ]&&[ "$y" -ge 0 ]&&[ "$s" -ge 0 ]&&[ "$N" ];} 2>/dev/null||q;"#,
        r#"c="head -c $n" x="head -c $s";[ $h = head ]||"#,
        r#"{ c="dd ibs=1 obs=65536 count=$n 2>/dev/null" x="dd bs=512 count=$((s/512+1))";};"#,
        r#"t=$c;[ "$z" = - ]||t="$z -dc";c="$c|{ $t||{ $c >/dev/null;[ ];};}";@7@"#,
    ),
    // Complaints of the tools go to stdout, ahead of the line that says failed.
    // Without `wc` the size is taken on trust. The image is found through PATH,
    // as that is the only way for sh to give it a name of our choice; and some
    // shells close descriptors that `exec 9<` alone has opened. yash goes on after
    // an exec that failed. $b stays where the file cannot be opened, so that
    // nothing has been read.
    concat!(
        r#"if [ "$p" ];then g=$p/$N;"#,
        r#"b=1;if { { b=;eval "$c";} 2>&1 >"$g";} 2>/dev/null&&chmod 700 "$g"&&"#,
        r#"k=$(wc -c <"$g" 2>/dev/null||echo $s)&&[ ${k:-0} -eq $s ]@8@;then "#,
        r#"kill -0 $w 2>/dev/null||w=;"#,
        r#"@X@fi;@9@"#,
    ),
    // Is it the place's fault? As many zeros show it, and say why.
    concat!(
        r#"[ "$b" ]&&eval "$c" >/dev/null 2>&1;x=$(exec 2>&1;eval "$x" </dev/zero >"$g")&&{ echo $A$B failed $k;q;};"#,
        r#"(i "$p"&&rm -f -- "$N") >/dev/null 2>&1;e="$e|$d|$x";o=$p;p=;continue;fi;"#,
    ),
    // No place: into memory. Flag 16 is MFD_EXEC, which some systems demand and
    // kernels before 6.3 refuse. perl keeps descriptors up to $^F open over exec,
    // and opens a handle again onto the same descriptor.
    concat!(
        r#"{ kill -9 $w;wait $w;} 2>/dev/null;c="{ $c >&9;} 2>&1";case $i in perl)"#,
        r#"exec perl -le "\$^F=9;my(\$N,\$y,\$s,\$t,\$c)=@ARGV;"#,
        r#"sub x{\$t=~s/.*?:(.*):/\$1/;print qq(\$t failed @_);exit 1}"#,
        r#"my \$m=\$N;my \$f=syscall(\$y,\$m,16);\$f<0 and \$f=syscall(\$y,\$m,0);"#,
        r#"\$f<0 and x(q(-),q(memfd_create:),\$! );"#,
        r#"open(F,q(<&=9));open(F,qq(+<&\$f));open(G,qq(<&=\$f));close G;"#,
        r#"(system(\$c)||(-s F)-\$s)and x(0+(-s F));"#,
        r#"exec{q(/proc/self/fd/9)}\$N,\$t,q(),q();x(q(-),q(exec:),\$! )" "#,
        r#""$N" $y $s "offshoot-child:$A:$B" "$c" 9</dev/null;;"#,
    ),
    concat!(
        r#"python3)exec python3 -IS -c "import os,sys;N,s,t,c=sys.argv[1:];m=os.memfd_create;"#,
        r#"exec(\"try:f=m(N,16)\nexcept OSError:f=m(N,0)\");os.dup2(f,9);f-9 and os.close(f);"#,
        r#"r=os.system(c);k=os.fstat(9).st_size;"#,
        r#"(r or k-int(s))and(print(t.replace(\":\",\"\")[14:],\"failed\",k),sys.exit(1));"#,
        r#"os.execve(9,[N,t,\"\",\"\"],os.environ)" "#,
        r#""$N" $s "offshoot-child:$A:$B" "$c";;esac;exit 1;done"#,
    ),
];

const EXEC: &str = r#"PATH=$p:$PATH;exec "$N" "offshoot-child:$A:$B" "$p" "$w" 9<"$g";exit;"#;

/// Anybody may have to execute it there, and nobody but root may write to it.
/// The sweeper ignores signals from its first moment, as it takes over from the
/// watcher. A copy that was cut short cannot be executed, so it copies again.
const COPY_AND_EXEC: &str = concat!(
    r#"trap "" HUP INT TERM;{ while [ -d "$p" ]&&kill -0 $$;do sleep .3||sleep 1||exit;done;[ -f "$g" ]&&y;"#,
    r#"v "$p";r "$v/$f/$N" "offshoot-child:$A:$B" "$v/$f";} </dev/null >/dev/null 2>&1&trap - HUP INT TERM;"#,
    r#"{ kill -9 $w;wait $w;} 2>/dev/null;chmod 755 "$p" "$g";y >&2||exit 1;(i "$p"&&rm -f -- "$N");"#,
    r#"e "$v/$f/$N" "offshoot-child:$A:$B" "$v/$f" "" "as:${N#offshoot:}";exit 1;"#,
);

/// What a line with a cache has besides, by the marks in [`SECTIONS`].
const CACHE: [(&str, &str); 9] = [
    ("@1@", "C=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}};C=${C:+$C/offshoot};"),
    // The watcher looks there too, for what is not renamed yet.
    ("@2@", r#""$C" "#),
    ("@3@", "shift;"),
    (
        "@4@",
        r#"j=;l=;[ "$C" ]&&[ $h = head ]&&for c in perl openssl shasum sha256sum;do command -v $c >/dev/null 2>&1&&l=+ j=$c;done;"#,
    ),
    ("@5@", "$l"),
    ("@6@", "D "),
    ("@7@", r#"[ $n = 0 ]&&c="[ -f \"\$C/\$D\" ]&&head -c $s <\"\$C/\$D\"";"#),
    (
        // Hashed before it is run and before it is kept.
        "@8@",
        concat!(
            r#"&&{ [ -z "$j" ]&&[ $n -gt 0 ]||{ case $j in shasum)x="shasum -a 256";;"#,
            r#"openssl)x="openssl dgst -sha256 -r";;"#,
            r#"perl)x="perl -MDigest::SHA -e \"print Digest::SHA->new(256)->addfile(*STDIN)->hexdigest\"";;*)x=$j;;esac;"#,
            r#"case $(eval "$x" <"$g" 2>/dev/null) in $D*)[ $n = 0 ]||(umask 077;mkdir -p "$C"&&mkdir "$C/$f"&&"#,
            r#"head -c $s <"$g" >"$C/$f/i"&&cd "$C"&&set -- $(ls -t)&&{ [ $# -lt 4 ]||{ shift 3;rm -f -- "$@";};};"#,
            r#"mv -f "$C/$f/i" "$C/$D";v "$C/$f") >/dev/null 2>&1;:;;*)[ $n -gt 0 ];;esac;};}"#,
        ),
    ),
    // What is not there, or not what it says, has to be sent.
    ("@9@", r#"[ $n = 0 ]&&{ l=;continue;};"#),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> (Nonce, String) {
        let nonce = Nonce::from_bytes([0xa7; 16]);
        let line = first_stage(&nonce, false, None);
        (nonce, line)
    }

    #[test]
    fn every_login_shell_takes_it_in_single_quotes() {
        for cache in [false, true] {
            let line = first_stage(&line().0, cache, None);
            assert!(line.is_ascii() && !line.contains(|c: char| c.is_control() || c == '\''));
            for (at, _) in line.match_indices('!') {
                let next = line[at + 1..].chars().next();
                assert!(matches!(next, Some(';' | ' ')), "! before {next:?}");
            }
            assert!(!line.contains(r"\\") && !line.contains(r"\'"));
            // rbash: restricted.
            assert!(!line.starts_with("exec"));
            let mark = |n: u32| line.contains(&format!("@{n}@"));
            assert!(!(1..10).any(mark), "{line}");
        }
    }

    #[test]
    fn it_is_short_and_holds_the_token_in_halves_only() {
        let (nonce, line) = line();
        assert!(line.len() < 3300, "{} bytes", line.len());
        let command = login_command("sh", &line);
        assert_eq!(command, format!("sh -c '{line}'"));
        let [a, b] = nonce.halves();
        let (places, _) = line.split_once("-- ").unwrap().1.split_once(';').unwrap();
        assert_eq!(places.split(' ').count(), crate::connect::bootstrap::announcement::MAX_REFUSED);
        assert!(command.starts_with(&format!("sh -c 'A={a} B={b};set ")), "{command}");
        assert!(!command.contains(&nonce.token()) && !line.contains("@A@") && !line.contains("@B@"));
        assert!(nonce.is_directory_name(&format!(".offshoot-{a}-71x")) && line.contains(";f=.offshoot-$A-$$;"));
        assert!(holds_first_stage(command.as_bytes()) && !holds_first_stage(nonce.child_argument().as_bytes()));
    }
}
