#!/usr/bin/env bash
# A model as people have it: in parts, as a pointer, changed without notice; and its identity, which is computed once.
. "$(dirname "$0")/data/cli.bash"

# In two parts, written by gguf's own library: part 1 is loaded, part 2 says which to give.
"$python" - "$models/llama-mixed.gguf" <<'P'
import sys, gguf
reader = gguf.GGUFReader(sys.argv[1])
half = len(reader.tensors) // 2
for no, tensors in enumerate((reader.tensors[:half], reader.tensors[half:])):
    writer = gguf.GGUFWriter(f"m-{no + 1:05d}-of-00002.gguf", "llama")
    for field in () if no else reader.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            array = field.types[0] == gguf.GGUFValueType.ARRAY
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=field.types[-1] if array else None)
    writer.add_uint16("split.no", no)
    writer.add_uint16("split.count", 2)
    writer.add_int32("split.tensors.count", len(reader.tensors))
    for tensor in tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_shape=tensor.data.shape, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
P
run 0 info -m m-00001-of-00002.gguf; prints '^parts +2 files'
run 0 info --json -m m-00001-of-00002.gguf; json out 'd["model"]["n_parts"] == 2'
run 1 info -m m-00002-of-00002.gguf; says 'part 2 of 2 of a model: give the first, m-00001-of-00002.gguf'
printf 'The keeper lit the lamp.\n' >doc.txt
for model in "$models/llama-mixed.gguf" m-00001-of-00002.gguf; do
    run 0 ask -m "$model" --no-store -t 1 -n 8 --temp 0 --json -q 'Who lit it?' doc.txt; cp out "answer-$(basename "$model").json"
done
json answer-llama-mixed.gguf.json 'd["answer"] == json.load(open("answer-m-00001-of-00002.gguf.json"))["answer"]'
mv m-00002-of-00002.gguf away; run 1 info -m m-00001-of-00002.gguf; says 'm-00002-of-00002.gguf, is not there'

# A tensor that nothing uses is one that was forgotten, but for those that the family names.
"$python" - "$models" <<'P'
import sys, gguf, numpy as np
for model, arch, extra in (("gemma3", "gemma3", "dense_2.weight"), ("llama", "llama", "blk.1.attn_rot_embd.weight"), ("gemma3", "gemma3", "blk.1.attn_q.bias2")):
    reader = gguf.GGUFReader(f"{sys.argv[1]}/{model}.gguf")
    writer = gguf.GGUFWriter(f"extra-{extra}.gguf", arch)
    for field in reader.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            array = field.types[0] == gguf.GGUFValueType.ARRAY
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=field.types[-1] if array else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_shape=tensor.data.shape, raw_dtype=tensor.tensor_type)
    writer.add_tensor(extra, np.zeros(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
P
run 0 info -m extra-dense_2.weight.gguf
run 0 info -m extra-blk.1.attn_rot_embd.weight.gguf
run 1 info -m extra-blk.1.attn_q.bias2.gguf; says 'tensor blk.1.attn_q.bias2 is none that architecture gemma3 has'

# What is no model says what it is, and a pipe makes nobody wait.
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n' >pointer.gguf
run 1 ask -m pointer.gguf -q 'Who?' doc.txt; says 'git-lfs pointer.*git lfs pull'
mkfifo pipe.gguf; run 1 info -m pipe.gguf; says 'a pipe'
run 1 info -m .; says 'a directory'

# The identity is kept where the XDG specification says, and for this user alone; a byte that changes shows, time and size as they were.
cp "$models/llama.gguf" model.gguf
fingerprint() { value out 'd["model"]["fingerprint"]'; }
run 0 info --json -m model.gguf; first=$(fingerprint)
sleep 3.1
run 0 info --json -m model.gguf; [ "$(fingerprint)" = "$first" ] || fail 'another fingerprint of the same file'
entry=$(grep -lx "identity $first" .cache/infoflow/identities/*.id) || fail 'its identity is not kept'
[ "$(stat -c '%a %A' "$entry")" = '600 -rw-------' ] || fail 'others can read it'
run 0 info --json -m model.gguf; [ "$(fingerprint)" = "$first" ] || fail 'another fingerprint of the same file'
[ ! -s err ] || fail 'it is not silent'
touch -r model.gguf time
printf 'X' | dd of=model.gguf bs=1 seek=$(($(stat -c %s model.gguf) - 5000)) conv=notrunc status=none; touch -r time model.gguf
run 0 info --json -m model.gguf; [ "$(fingerprint)" != "$first" ] || fail 'the same fingerprint of other weights'

# Where it cannot be kept, that is said, and all the rest works.
old=$models/llama.gguf
XDG_CACHE_HOME=/dev/null/none run 0 info -m "$old"; says 'cannot be kept in /dev/null/none/infoflow/identities'
XDG_CACHE_HOME=/dev/null/none run 0 ask --quiet --no-store -m "$old" -t 1 -n 2 -q 'Who?' doc.txt; [ ! -s err ] || fail '--quiet is not silent'
HOME='' run 0 info -m "$old"; says 'neither XDG_CACHE_HOME nor HOME'
