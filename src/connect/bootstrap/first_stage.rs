//! The line of shell that receives an image and executes it.
//!
//! It runs in the machine's `sh`, started by the account's login shell, of whatever kind these are. It needs
//! `uname mkdir rmdir chmod rm` and either `head -c` or `dd`. It travels in single quotes as one argument. So
//! it contains no `'`, no newline, no backslash before a backslash or a quote mark (fish), and no `!` before
//! anything but `;` or a space (csh and tcsh expand `!word` even inside single quotes).
//!
//! It prints these messages on stdout, each as one line:
//!
//! - `TOKEN SYSTEM MACHINE DECOMPRESSOR READER INTERPRETER |PLACE|DIR|REASON|DIR|REASON...`
//! - `TOKEN failed SIZE [REASON]`, preceded by the complaints of the tools
//! - `TOKEN failed eof`: stdin ended before a request came
//!
//! It reads `BYTES DECOMPRESSOR MEMFD_NUMBER SIZE NAME`, a newline, and `BYTES` bytes of image, which unpack to
//! `SIZE` bytes. If the place is too small for the image, the line takes the next place, announces itself
//! again, and receives the image again.
//!
//! The image is open on descriptor 9 and is started as `NAME offshoot-child:A:B DIRECTORY WATCHER`. It removes
//! `DIRECTORY` and everything in it, removes it from the front of `PATH`, and kills and reaps the process
//! `WATCHER`, which is its own child. `WATCHER` is empty if there is no such process. If the image is executed
//! from memory, both are empty, because there is nothing to remove.
//!
//! # Whose directory it is
//!
//! Every user of the machine can read the arguments of a process, and may create directories in the same places
//! as the line does. So the directory's name ends in random characters, which no argument contains before the
//! directory exists. `mkdir` fails if something has that name already, so its result decides who owns the
//! directory. The line empties a directory only from within, only if it belongs to the same user, and only if
//! the directory itself has that name (a link to it does not count). Without `/dev/urandom` the name can be
//! guessed; the other checks still hold.
//!
//! # Containers without a shell or without the tools
//!
//! For such a container the line runs on this side, next to the engine's client. It announces the container's
//! machine. Then it has the client copy the directory into the container and execute the image, which removes
//! the copy as soon as it runs. If the image may not remove the copy, a sweeper does: it runs the image once
//! more, as root, when the directory on this side is gone or this process is gone. So the parent removes that
//! directory when the child is up.
//!
//! # The cache
//!
//! A line that may keep images adds `+` to `DECOMPRESSOR` if the machine has a program that hashes. It then
//! reads `BYTES DECOMPRESSOR MEMFD_NUMBER SIZE SHA256 NAME`. If `BYTES` is 0, it takes the image from the
//! cache. If the cache does not have the image, the line announces itself again, without the `+`.
//!
//! The names of cached files are their digests. The line trusts nothing else about them: at every use it copies
//! the file into the private directory, hashes the copy, and executes the copy. So it does not matter who else
//! can write to the cache, or what a crash has left there. Files are renamed into place. The three newest are
//! kept in addition to the new one.

use crate::connect::bootstrap::Nonce;

/// The whole line, made for one connection. `cache`: whether it may keep the image, and use one that was kept.
///
/// `copying`: shell functions that bring an image to a place where the line cannot run. `m` sets `u` to the
/// system and the processor, and `v` to the directory there that takes the copy (empty for `/`). `y` copies the
/// directory `$p` to `$v/$f`, `e` executes a command there, and `r` runs a command there as root.
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
    // This comes last, because the functions may contain any text, also the marks that are replaced above.
    match (copying, line.split_once(';')) {
        (Some(functions), Some((token, rest))) => format!("{token};{functions}{rest}"),
        _ => line,
    }
}

/// Whether the arguments of a process contain a first stage.
#[cfg(any(target_os = "linux", test))]
pub(crate) fn holds_first_stage(argv: &[u8]) -> bool {
    beginning(argv).is_some()
}

/// A line of another program, without the first stage that it repeats. A reader learns nothing from that.
///
/// A first stage contains no `'` and is always passed on between two of them. In a line without the second, or
/// that was cut before it, nothing shows where the first stage ends.
pub(super) fn without_first_stage(line: String) -> String {
    let Some((said, stage)) = beginning(line.as_bytes()).and_then(|start| line.split_at_checked(start)) else {
        return line;
    };
    let rest = stage.find('\'').map_or("", |end| &stage[end..]);
    format!("{said}...{rest}")
}

/// Where a first stage begins.
fn beginning(text: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"A=0000000000000000 B=0000000000000000;";
    text.windows(FORM.len()).position(|words| {
        FORM.iter().zip(words).all(|(form, byte)| if *form == b'0' { byte.is_ascii_hexdigit() } else { form == byte })
    })
}

/// A first stage as a command for a login shell or for `ssh`.
///
/// `shell` is a piece of a shell command such as `sh` or `busybox sh`. It is passed on unchanged.
pub(crate) fn login_command(shell: &str, line: &str) -> String {
    // The command must not begin with `exec`, which a restricted shell refuses.
    format!("{shell} -c '{line}'")
}

/// The parts of the line, in the order in which they run.
const SECTIONS: [&str; 18] = [
    // The token appears here in two halves only: `ps`, `ssh -v` and error texts repeat argv, and their output
    // could otherwise be taken for the token.
    "A=@A@ B=@B@;@1@",
    // An exported SHELLOPTS may have set any of these options. The places to try are in "$@", because the name
    // of a home directory may contain spaces.
    r#"set +Ceuvx -f -- @2@"${XDG_RUNTIME_DIR-}" /dev/shm /tmp /var/tmp "${HOME-}" .;"#,
    // The shell's own stderr is not redirected, so that a shell that may open too few files can still report
    // it. Linux gives random text, which takes no process. Of the tools, only `od` prints text; in the output of
    // the others, every byte that is not a letter or a digit is skipped. One shell reads random bytes as multibyte
    // characters and so loses most of them.
    concat!(
        "f=.offshoot-$A-$$;p=;o=;e=;h=;y=/proc/sys/kernel/random/uuid;[ -r $y ]&&read -r x <$y||x=$(exec 2>/dev/null;",
        "od -An -tx1 -N16 /dev/urandom||head -c 64 </dev/urandom||dd bs=64 count=1 </dev/urandom);",
        r#"while [ "$x" ];do y=${x#?};x=${x%"$y"};case $x in "#,
        "[abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789])f=$f$x;;esac;x=$y;done;",
    ),
    // `i` enters a directory if the line owns it, `v` removes it. In zsh, a pattern that matches nothing would
    // end the shell.
    concat!(
        r#"i(){ cd -P "$1"&&[ -O . ]&&[ "${PWD##*/}" = "$f" ];};"#,
        r#"v(){ (i "$1"&&{ rmdir "../$f"||{ set +f;rm -f -- *;rmdir "../$f";};}) >/dev/null 2>&1;};"#,
    ),
    // The watcher removes the directory when this process is gone. (exec keeps the pid, so this covers the
    // image, too.) It ends when the directory has existed and is gone. It is started before the directory is
    // made: otherwise a kill in between would leave the directory behind. Without a `sleep` it gives up,
    // because it would use a whole processor. (If it were in parentheses, it would be the child of the process
    // that yash calls $!.)
    concat!(
        r#"{ trap "" HUP INT TERM;s=;while sleep .3||sleep 1||exit;kill -0 $$;do "#,
        r#"for d do [ -O "$d/$f" ]&&s=1&&continue 2;done;[ "$s" ]&&exit;done;"#,
        r#"for d do v "$d/$f";done;} </dev/null >/dev/null 2>&1&w=$!;@3@"#,
    ),
    "z=-;for c in gzip zstd;do command -v $c >/dev/null 2>&1&&z=$c;done;",
    // perl executes the image through /proc/self/fd, python3 by its descriptor.
    concat!(
        "i=none;command -v python3 >/dev/null 2>&1&&i=python3;",
        "[ -d /proc/self/fd ]&&command -v perl >/dev/null 2>&1&&i=perl;",
    ),
    "u=$(uname -sm);@4@",
    r#"q(){ [ "$p" ]&&v "$p";exit 1;};while :;do k=-;"#,
    // Finds the next place where a file can be made and executed. 126 is the only status that means "no". The
    // file is a script for `head -c1`, so that one process also shows whether `head` knows -c. If the path of
    // `head` cannot stand in a first line, or is none, the file is an empty shell script; busybox without /proc
    // returns 127 for that. (Old kernels read 127 bytes of the first line. The file has its mode before
    // it is written again, because the umask may forbid that.) If `mkdir` has failed (status 125), the
    // directory is left alone. A place with a colon would split PATH. `:` instead of `echo` would end some shells
    // if the file cannot be made.
    concat!(
        r#"[ "$p" ]||while [ $# -gt 0 ];do d=$1;shift;case $d in ""|*:*)continue;;esac;p=$d/$f;"#,
        r#"x=$(exec 2>&1;mkdir -m 700 "$p"||exit 125;[ -O "$p" ]||{ echo another owner;exit 126;};"#,
        r#"echo >"$p/t"&&chmod 700 "$p/t"||exit 126;"#,
        r#"command -v head >"$p/t"&&read -r y <"$p/t"&&[ ${#y} -lt 99 ]||y=;"#,
        r##"case $y in *" "*)y=;;/*)x=!;y="#$x$y -c1";;*)y=;;esac;echo "$y" >"$p/t";"$p/t");"##,
        r##"case $? in 125);;126)v "$p";;*)[ "$x" = "#" ]&&h=head;break;;esac;e="$e|$d|$x";p=;done;"##,
    ),
    // The script has not shown that `head` knows -c.
    concat!(
        r#"[ "$h" ]||case $(echo a|head -c1 2>/dev/null) in a)h=head;;"#,
        r#"*)h=dd;command -v dd >/dev/null 2>&1||h=none;;esac;@0@"#,
    ),
    // The old directory is removed only when there is a new one: otherwise the watcher would end.
    r#"[ "$o" ]&&v "$o";o=;"#,
    // $u and $e are not quoted, so that newlines in them become spaces.
    r#"echo $A$B ${u:-- -} $z@5@ $h $i "|${p:-none}"$e;"#,
    // The line removes the directory itself, because the watcher would do so only after a while. One read of a
    // larger block from a pipe returns only the bytes that are there, so dd has to read byte by byte to count
    // correctly. An image that cannot be unpacked is read to its end all the same, so that the next request is
    // read from its beginning.
    concat!(
        r#"read -r n z y s @6@N||{ [ "$p" ]&&v "$p";[ "$n" ]||echo $A$B failed eof;exit 1;};"#,
        // ksh accepts the name of a variable as a number, too.
        r#"case $n:$y:$s in [0-9]*:[0-9]*:[0-9]*);;*)q;;esac;"#,
        r#"{ [ "$n" -ge 0 ]&&[ "$y" -ge 0 ]&&[ "$s" -ge 0 ]&&[ "$N" ];} 2>/dev/null||q;"#,
        r#"c="head -c $n" x="head -c $s";[ $h = head ]||"#,
        r#"{ c="dd ibs=1 obs=65536 count=$n 2>/dev/null" x="dd bs=512 count=$((s/512+1))";};"#,
        r#"t=$c;[ "$z" = - ]||t="$z -dc";c="$c|{ $t||{ $c >/dev/null;[ ];};}";@7@"#,
    ),
    // The complaints of the tools go to stdout, before the line that reports the failure. A decompressor notices
    // itself that its input or its output is too short. Otherwise `wc` shows it; without `wc` the size is not
    // checked. The image is found through PATH, because this is the only way for sh to give it a name of
    // our choice. Descriptor 9 is opened by the command that executes the image, because some shells close
    // descriptors that `exec 9<` alone has opened. yash continues after an exec that failed. $b stays set if the
    // file cannot be opened; then nothing has been read.
    concat!(
        r#"if [ "$p" ];then g=$p/$N;"#,
        r#"b=1;if { { b=;eval "$c";} 2>&1 >"$g";} 2>/dev/null&&chmod 700 "$g"&&"#,
        r#"{ k=$s;[ "$z" = - ]&&k=$(wc -c <"$g" 2>/dev/null||echo $s);[ ${k:-0} -eq $s ];}@8@;then "#,
        r#"kill -0 $w 2>/dev/null||w=;"#,
        r#"@X@fi;@9@"#,
    ),
    // Tests whether the place is the cause: if the same number of zeros cannot be written there, their error is
    // the reason.
    concat!(
        r#"[ "$b" ]&&eval "$c" >/dev/null 2>&1;x=$(exec 2>&1;eval "$x" </dev/zero >"$g")&&{ echo $A$B failed $k;q;};"#,
        r#"(i "$p"&&rm -f -- "$N") >/dev/null 2>&1;e="$e|$d|$x";o=$p;p=;continue;fi;"#,
    ),
    // If there is no place, the image is executed from memory. Flag 16 is MFD_EXEC, which some systems require
    // and kernels before 6.3 refuse. perl keeps descriptors up to $^F open over exec, and reopens a handle on
    // the same descriptor.
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

/// Any user may have to execute the copy there, and only root may write to it. The sweeper ignores signals from
/// the start, because it takes over from the watcher. A copy that was interrupted cannot be executed, so the
/// sweeper copies again.
const COPY_AND_EXEC: &str = concat!(
    r#"trap "" HUP INT TERM;{ while [ -d "$p" ]&&kill -0 $$;do sleep .3||sleep 1||exit;done;[ -f "$g" ]&&y;"#,
    r#"v "$p";r "$v/$f/$N" "offshoot-child:$A:$B" "$v/$f";} </dev/null >/dev/null 2>&1&trap - HUP INT TERM;"#,
    r#"{ kill -9 $w;wait $w;} 2>/dev/null;chmod 755 "$p" "$g";y >&2||exit 1;(i "$p"&&rm -f -- "$N");"#,
    r#"e "$v/$f/$N" "offshoot-child:$A:$B" "$v/$f" "" "as:${N#offshoot:}";exit 1;"#,
);

/// What a line with a cache has in addition, by the marks in [`SECTIONS`].
const CACHE: [(&str, &str); 10] = [
    ("@1@", "C=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}};C=${C:+$C/offshoot};"),
    // The watcher looks there, too, for a file that is not renamed yet.
    ("@2@", r#""$C" "#),
    ("@3@", "shift;"),
    (
        "@4@",
        r#"j=;l=;[ "$C" ]&&for c in perl openssl shasum sha256sum;do command -v $c >/dev/null 2>&1&&l=+ j=$c;done;"#,
    ),
    ("@0@", "[ $h = head ]||l=;"),
    ("@5@", "$l"),
    ("@6@", "D "),
    ("@7@", r#"[ $n = 0 ]&&c="[ -f \"\$C/\$D\" ]&&head -c $s <\"\$C/\$D\"";"#),
    (
        // The image is hashed before it is executed and before it is kept.
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
    // If the cached file is missing or has another digest, the image has to be sent.
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
            // rbash is a restricted shell.
            assert!(!line.starts_with("exec"));
            let mark = |n: u32| line.contains(&format!("@{n}@"));
            assert!(!(0..10).any(mark), "{line}");
        }
    }

    #[test]
    fn it_is_short_and_holds_the_token_in_halves_only() {
        let (nonce, line) = line();
        assert!(line.len() < 3400, "{} bytes", line.len());
        let command = login_command("sh", &line);
        assert_eq!(command, format!("sh -c '{line}'"));
        let [a, b] = nonce.halves();
        let (places, _) = line.split_once("-- ").unwrap().1.split_once(';').unwrap();
        assert_eq!(places.split(' ').count(), crate::connect::bootstrap::announcement::MAX_REFUSED);
        assert!(command.starts_with(&format!("sh -c 'A={a} B={b};set ")), "{command}");
        assert!(!command.contains(&nonce.token()) && !line.contains("@A@") && !line.contains("@B@"));
        assert!(nonce.is_directory_name(&format!(".offshoot-{a}-71x")) && line.contains(";f=.offshoot-$A-$$;"));
        let quoted = format!("fatal: unrecognized command '{command}'");
        assert_eq!(without_first_stage(quoted.clone()), "fatal: unrecognized command 'sh -c '...''");
        assert_eq!(without_first_stage(quoted[..1000].into()), "fatal: unrecognized command 'sh -c '...");
        assert_eq!(without_first_stage("it's A=1 B=2;".into()), "it's A=1 B=2;");
        assert!(holds_first_stage(command.as_bytes()) && !holds_first_stage(nonce.child_argument().as_bytes()));
    }
}
