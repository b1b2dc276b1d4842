//! Two children that play ping-pong, past the program that has started them.
//!
//!     cargo run --example ping_pong
//!
//! Each gets the other's `Sender` as the first thing it receives; from then on
//! the numbers go to and fro between the two.

#![expect(clippy::print_stdout, reason = "this is its output")]

use offshoot::{Call, Context, Error, Receiver, Router, Sender, export};
use serde::{Deserialize, Serialize};

const END: u32 = 30;

#[derive(Serialize, Deserialize)]
enum Ball {
    /// Where to play it to.
    Partner(Sender<Self>),
    Number(u32),
}

/// Plays until the number is high enough; returns how many balls it has had.
async fn play(router: &Router, ready: Sender<Sender<Ball>>) -> Result<u32, Error> {
    let balls = Receiver::new(router);
    ready.send(balls.sender()).await?;
    let Ball::Partner(partner) = balls.recv().await? else {
        return Err(Error::Misuse("no partner".into()));
    };
    let mut had = 0;
    while let Ball::Number(number) = balls.recv().await? {
        had += 1;
        // The last two balls end a player each.
        if number <= END {
            partner.send(Ball::Number(number + 1)).await?;
        }
        if number >= END {
            break;
        }
    }
    Ok(had)
}
export!(play);

/// A child that plays, and where to send it a ball.
async fn player(router: &Router) -> Result<(Context, Call<u32>, Sender<Ball>), Error> {
    let child = router.local().connect().await?;
    let ready = Receiver::new(router);
    let call = child.call(play, (ready.sender(),));
    let balls = ready.recv().await?;
    Ok((child, call, balls))
}

async fn app(router: Router) -> Result<(), Error> {
    let (one, one_call, one_balls) = player(&router).await?;
    let (two, two_call, two_balls) = player(&router).await?;
    one_balls.send(Ball::Partner(two_balls.clone())).await?;
    two_balls.send(Ball::Partner(one_balls.clone())).await?;
    one_balls.send(Ball::Number(1)).await?;
    let (one_had, two_had) = (one_call.await?, two_call.await?);
    println!("{one} had {one_had} balls, {two} had {two_had}");
    assert_eq!(one_had + two_had, END + 1);
    Ok(())
}

fn main() -> std::process::ExitCode {
    offshoot::run(app)
}
