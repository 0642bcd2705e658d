"""Floor 2, store: what was answered as committed is there after any crash.

    people       values      fields as Python values and JSON
    classes      definitions, registry, bodies, fieldtypes, keys
    questions    query, selecting, majors
                     |
    one server   database  (heart)   one task owns the log; readers see what is durable
                     |     transaction, reading, applying, recovery, references, indexes
    durable      log   ->  generations  ->  fold  ->  tables          bytes only, no classes
                 frames    (memory)                   (LMDB)
                 segments
                     |
                 disk      the seam; its other side is simulations.faulty_disk

The layer below the line knows bytes, keys and positions; the layer above knows classes, objects and feeds. A change
goes down once: checked, written to the log, synced, answered, folded. Nothing is ever undone (DESIGN L6).

Reading order:

    records         vocabulary: records, leaves, updates and their bytes; the Sealer that the node hands in
    definitions     a class: its fields, version, fingerprint, as text and CBOR
    python_classes  the same declared as a Python class
    fields          one field of it; indexes of several fields
    fieldtypes      what a field may hold         keys     bytes in the order of values
    bodies          fields to bodies and back, compiled per class
    values          fields as JSON
    registry        the data dictionary: built-in classes, known and adopted classes
    built_in        the classes that every store has
    indexes         which entries a version contributes: of values, of several, of a list's elements
    blob_files      a blob's name, and its file: chunks that are verified one by one
    blobs           those of a store: written, read, kept as long as anybody needs them
    query           vocabulary of questions; filters and the order of rows
    selecting       choose an index, scan, filter, order, limit         statistics  how many entries a range has
    majors          one question is compiled for each class of that name, and the answers are merged
    explaining      how a question was answered, and what it took       completing  the values that begin so
    reading         views of what is durable, and of what is appended
    references      targets must exist; what happens when they are deleted
    history, past   earlier versions of own objects: which are kept, and what one was at a moment
    changes         what one unit of work would change, and what it has read
    temporary       objects without a place on disk, under handles, that end with their session
    roots           the object from which all others are found
    savepoints      parts of a transaction that are taken back while the rest stands
    transaction     reads and writes of one unit of work
    learning        classes and servers as the log and the tables tell them
    applying        from checked changes to records, index entries and feed positions: live and in replay alike
    copies          cached copies of others' objects: which may be kept, which go
    foreign         what can be done with an update of another server: now, later, never
    answered        what is kept of a request that was carried out, or made again of leaves after a restore
    frame_parts     what frames hold          held_feeds   which updates are here, and where
    recovery        from disk to a store that may answer
    work, grouping, writing     the one task that owns the log: what it does, what one sync takes, its loop
    building        indexes of many objects come and go step by step: building_steps what a step writes,
                    builder its tasks
    upgrading       own objects become those of the next major: what a step writes, upgrader its tasks
    dropping        a class goes, with its own objects or when there are none
    collecting      objects of collectable classes that nothing leads to go, step by step; collector drives the steps;
                    numbers a set of objects, a bit each
    database        (heart) open, commit, apply, define, close
    findings    vocabulary of a look at the whole store
    checking    is everything what was written, and does it fit together: checking_log, checking_tables, checking_blobs,
                checking_stopped of a store that nobody has open (probing: whether LMDB survives it),
                scrubbing of one that is in use
    upkeep      the directory of a store that nobody has open
    repair      mends it from what is certain: mending_log (one_bit), tables from the log; quarantine keeps evidence;
                mending_tables while the store is in use
    backup      the log and what stands beside it, kept elsewhere; restoring puts it back; backup_directories: of which;
                read_only: the files of others; archive: old segments lie elsewhere
    cipher      seals what is written in an encrypted store, with keys made of one data key; data_key keeps that wrapped
    sealed_frames, sealed_files, sealed_tables (sealed_pages)   the log, blobs and tables, so that they say nothing
    disk log frames segments group_commit tables checked generations versions fold worker     the durable layer

Left to others: who may change what (`identity.rights`, `node`), signatures and feeds (`replication`), asking other
servers (`node`). The store calls a `Sealer` and never sees a key.
"""
