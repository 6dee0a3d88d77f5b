"""TFRecords, as OpenAI's code names and fills them, from image folders and from the data sets' own formats.

    python -m data_loaders.generate_tfr FORMAT SOURCE OUT [--size N] ...

writes OUT/{train,validation}/{split}-rNN-s-XXXX-of-XXXX.tfrecords at `size`, its half and so on down to 4x4, which
`--data_dir OUT` reads. The images of each split are dealt out to its shards at random, as evenly as can be, the same
way at every resolution; what a shard holds depends on the source and --seed only. Shards are made in parallel
processes, written aside, read back, and renamed, so a shard that is there is whole: a run that was stopped or killed
goes on where it was with the same command.

Source: data_loaders/generate_tfr of OpenAI's code. Deviations: see pixels; OpenAI's code shuffles each resolution anew.
"""
