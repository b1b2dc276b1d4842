//! The sources of the library, for tests that read them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// All files by their paths below `src`, without their unit tests, and without the programs in `bin`, which see of the
/// library what it exports.
pub(crate) fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend((path != root.join("bin")).then_some(path));
            } else {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                let text = fs::read_to_string(path).unwrap();
                files.insert(name, text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
            }
        }
    }
    files
}
