//! What comes before the first frame.

use std::io;

use crate::attack::{Act, Attack, CHILD, LARGE};
use crate::far_side::Far;

pub(crate) fn all() -> Vec<Attack> {
    let row =
        |name, says, act| Attack { act: Act::Dialogue(act), memory: LARGE, says, ..Attack::new(name, CHILD, act) };
    vec![
        Attack { uploads: 7, ..row("a first stage announces itself again and again", &["EOF on stream"], again as _) },
        row("noise without end instead of an announcement", &["bytes of other output"], noise),
        row("an announcement without end", &["longer than 16384 bytes"], long_line),
        Attack {
            uploads: 1,
            ..row("noise without end after the image", &["bytes of other output"], noise_after_image)
        },
        row("a hello without end", &["(max 4096)"], endless_hello),
        row("another hello than that of the image", &["damaged", "cannot be read"], other_hello),
        row("frames instead of a hello", &["not those of a handshake"], no_hello),
        row("announcements of every shape", &["cannot read what the first stage announced"], shapes),
        row("the report of a failure with escapes in it", &["arrived with size"], failure),
    ]
}

/// Each announcement has one more refused place, and takes the image.
fn again(far: &mut Far) -> io::Result<()> {
    for count in 0..300 {
        let refused: String = (0..count).map(|number| format!("|/tmp/{number}|full")).collect();
        far.say(&format!("Linux {} - head none |/tmp/.offshoot-x{refused}", std::env::consts::ARCH))?;
        if count < 7 {
            far.take_image()?;
        }
    }
    Ok(())
}

fn noise(far: &mut Far) -> io::Result<()> {
    (0..400).try_for_each(|_| far.write_raw(&[b'x'; 65_536]))
}

fn long_line(far: &mut Far) -> io::Result<()> {
    far.say(&"x".repeat(4 << 20))
}

fn noise_after_image(far: &mut Far) -> io::Result<()> {
    far.announce()?;
    far.take_image()?;
    noise(far)
}

fn endless_hello(far: &mut Far) -> io::Result<()> {
    far.announce()?;
    far.take_image()?;
    let mut hello = far.hello()?;
    let at = hello.len() - hello.len().min(33 + 8 + 2);
    hello.truncate(hello.len() - at);
    hello.extend([0xff; 4]);
    far.write_raw(&hello)?;
    noise(far)
}

fn other_hello(far: &mut Far) -> io::Result<()> {
    far.announce()?;
    far.take_image()?;
    let mut hello = far.hello()?;
    let last = hello.len() - 1;
    hello[last] ^= 1;
    far.write_raw(&hello)
}

fn no_hello(far: &mut Far) -> io::Result<()> {
    far.announce()?;
    far.take_image()?;
    let token = far.hello()?[..33].to_vec();
    far.write_raw(&[&token[..], b"OS\0\0\x1b[31m"].concat())
}

fn shapes(far: &mut Far) -> io::Result<()> {
    far.say("|||\x1b[31m\u{9b}|\u{202e}")
}

fn failure(far: &mut Far) -> io::Result<()> {
    far.announce()?;
    far.take_image()?;
    far.write_raw("zstd: \x1b[31m\u{9b}\u{202e} bad\n".as_bytes())?;
    far.say("failed 7 \x1b[31m\u{9b}\u{202e} bad")
}
