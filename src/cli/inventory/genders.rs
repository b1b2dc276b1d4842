//! Files of genders: nodes, and the attributes that they have.

use crate::cli::inventory::model::Inventory;

/// Adds the nodes of a text. `ATTRIBUTE` and `ATTRIBUTE=VALUE` are groups.
///
/// # Errors
///
/// What is wrong, with the line.
pub(crate) fn load(inventory: &mut Inventory, text: &str) -> Result<(), String> {
    for (nth, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        let Some(nodes) = words.next() else { continue };
        inventory.add_text(0, nodes.to_owned());
        let attributes = words.next().unwrap_or_default();
        if words.next().is_some() {
            return Err(format!("line {}: attributes are written with commas and without blanks", nth + 1));
        }
        for attribute in attributes.split(',').filter(|attribute| !attribute.is_empty()) {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let group = inventory.add_group(name)?;
            inventory.add_text(group, nodes.to_owned());
            // A value with the name of the node in it is another one for each.
            if !value.is_empty() && !value.contains('%') {
                let group = inventory.add_group(attribute)?;
                inventory.add_text(group, nodes.to_owned());
            }
        }
    }
    Ok(())
}
