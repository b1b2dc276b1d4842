//! Images for machines: they are found, packed, and prepared before they are needed.

use std::pin::Pin;
use std::rc::Rc;

use crate::connect::bootstrap::Announcement;
use crate::engine::image_store::Missing;
use crate::engine::io::Io;
use crate::image::bundle::Bundle;
use crate::image::executable::{self, Compression, Image, Packed};
use crate::sys::blocking::on_other_thread;
use crate::wire::error::{ConnectError, ConnectErrorKind, Phase};

/// An image that is being packed, and its digest.
pub(super) type Packing = Pin<Box<dyn Future<Output = Result<(Packed, [u8; 32]), ConnectError>>>>;

/// Starts to find and pack an image for the machine of this announcement.
pub(super) fn choose(io: &Rc<Io>, hop: &str, announcement: &Announcement) -> Packing {
    let (io, hop) = (Rc::clone(io), hop.to_owned());
    let (system, machine, compression) =
        (announcement.system.clone(), announcement.machine.clone(), announcement.compression);
    Box::pin(async move {
        let fail = |kind, text| ConnectError::new(kind, Phase::FirstStage, hop.clone(), text);
        let image = io.images().image_for(&io, &system, &machine).await.map_err(|missing| match missing {
            Missing::Unknown(known) => {
                let known = known.join(", ");
                let text = format!("there is no image for {system} {machine}: this program carries {known}");
                let advice = match executable::has_target(&system, &machine) {
                    true => format!(
                        "for the tool, `make bundle` in its sources adds those of common machines, and `make bundle TARGETS=...` \
                         others, which docs/reference/support.md names; for an own program, `cargo offshoot build --also \
                         {system}-{machine}` adds one"
                    ),
                    false => "none can be built for such a machine; use plain ssh for it".to_owned(),
                };
                fail(ConnectErrorKind::Unsupported, text).with_advice(advice)
            }
            Missing::Broken(why) => fail(ConnectErrorKind::Image, why),
        })?;
        on_other_thread(move || pack(&image, compression))
            .await
            .unwrap_or_else(|_| Err("packing the image has panicked".into()))
            .map_err(|why| fail(ConnectErrorKind::Image, why))
    })
}

/// Packs an image. Blocks.
fn pack(image: &Image, compression: Compression) -> Result<(Packed, [u8; 32]), String> {
    let packed = image.pack(compression).map_err(|error| format!("the image cannot be packed: {error}"))?;
    let digest = image.digest().map_err(|error| format!("the image cannot be read: {error}"))?;
    #[cfg(debug_assertions)]
    crate::connect::large_image::note(packed.unpacked);
    Ok((packed, digest))
}

/// Packs the image that a machine like this one would get. Blocks.
pub(super) fn prepare() {
    let (system, processor) = executable::own_machine();
    let image = match Bundle::own().and_then(|bundle| bundle.find(system, processor)) {
        Ok(Some(image)) => Ok(image),
        _ => Image::own(),
    };
    // If it fails here, it fails again when the image is needed, and that error is reported.
    let _ = image.and_then(|image| pack(&image, Compression::Zstd));
}
