//! What people and programs cannot see of a map from outside.

use super::*;

fn spec(kind: MapKind, value_size: u32, max_entries: u32) -> MapSpec {
    MapSpec {
        name: "m".to_owned(),
        kind,
        key_size: 4,
        value_size,
        max_entries,
        writable: true,
        settable: false,
        initial: Vec::new(),
    }
}

#[test]
fn addresses_of_the_largest_maps_fit() {
    for (value_size, max_entries) in [(1, 16 << 20), (1 << 20, 16), ((1 << 19) + 1, 31)] {
        let spec = spec(MapKind::Array, value_size, max_entries);
        assert_eq!(check(std::slice::from_ref(&spec)), Ok(()));
        let map = Map::new(&spec);
        let last = map.address(0, max_entries - 1);
        assert_eq!(last >> 32, memory::value_address(0, 0) >> 32);
        let offset = last as u32;
        let length = |offset| map.value_from(offset).map(<[u8]>::len);
        assert_eq!(length(offset), Some(value_size as usize));
        assert_eq!(length(offset + value_size), Some(0));
        assert_eq!(length(offset + value_size + 1), None);
        assert_eq!(length(u32::MAX), None);
    }
}

#[test]
fn storage_is_bounded_however_many_sockets_there_are() {
    let spec = spec(MapKind::SkStorage, 1_000, 0);
    let mut map = Map::new(&spec);
    let kept = (0..10_000).filter(|&socket| map.socket_slot(socket, true, None).is_some());
    let kept = kept.count() as u64;
    assert_eq!(kept, STORAGE_MEMORY / (1_000 + 8 + ENTRY));
    // Those that are there stay, and one that goes makes room.
    assert!(map.socket_slot(0, false, None).is_some());
    map.forget_socket(0);
    assert!(map.socket_slot(0, false, None).is_none());
    assert!(map.socket_slot(9_999, true, None).is_some());
    assert!(map.values.len() <= 1_000 * kept as usize);
}

#[test]
fn a_new_socket_does_not_see_what_another_left() {
    let mut map = Map::new(&spec(MapKind::SkStorage, 2, 0));
    map.socket_slot(1, true, Some(&[7, 7]))
        .expect("there is room");
    map.forget_socket(1);
    map.socket_slot(2, true, None).expect("there is room");
    assert_eq!(map.get(&2u64.to_le_bytes()), Some(&[0, 0][..]));
}

#[test]
fn the_least_used_key_makes_room() {
    let mut map = Map::new(&spec(MapKind::LruHash, 4, 100));
    for key in 0..1_000u32 {
        map.look_up(&7u32.to_le_bytes());
        let value = key.to_le_bytes();
        map.update(&value, &value, Update::Any)
            .expect("it makes room");
    }
    let kept = (0..1_000u32).filter(|key| map.get(&key.to_le_bytes()).is_some());
    let expected: Vec<u32> = [7].into_iter().chain(901..1_000).collect();
    assert_eq!(kept.collect::<Vec<_>>(), expected);
}
