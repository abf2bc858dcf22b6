"""The public sets that are at hand: a module each, with `found(data)`, where `data` holds its folder or is it."""
