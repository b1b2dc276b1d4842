//! A program in place of an image: reports how it was started, tidies up as a child does, and counts the
//! bytes on stdin. Built with plain rustc, statically linked.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let path = std::env::var("PATH").unwrap_or_default();
    println!("PROBE");
    println!("argv={}", args.join("|"));
    println!("path={}", path.split(':').next().unwrap_or_default());
    // SAFETY: the first stage has opened it, and no other code here uses it.
    println!("image={}", describe(&unsafe { File::from_raw_fd(9) }));
    if args[0].ends_with("stays") {
        println!("stays");
    } else {
        if !args[2].is_empty() {
            std::fs::remove_dir_all(&args[2]).expect("the directory is there and ours");
        }
        if let Ok(watcher) = args[3].parse() {
            // SAFETY: two system calls on numbers. No status is requested.
            let reaped = unsafe {
                kill(watcher, 9);
                waitpid(watcher, std::ptr::null_mut(), 0)
            };
            assert_eq!(reaped, watcher, "the watcher is a child of this process");
        }
        println!("clean");
    }
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).expect("stdin can be read");
    println!("stdin={}", rest.len());
}

/// The length and the FNV-1a digest of a file, wherever its offset is.
fn describe(file: &File) -> String {
    let (mut hash, mut length) = (0xcbf2_9ce4_8422_2325_u64, 0);
    let mut buffer = [0; 65536];
    loop {
        let read = file.read_at(&mut buffer, length).expect("descriptor 9 is the image");
        if read == 0 {
            return format!("{length}:{hash:x}");
        }
        length += read as u64;
        for byte in &buffer[..read] {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
