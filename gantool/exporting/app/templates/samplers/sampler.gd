# Latents of a seed: the random generator squares32-table16/1, the same bits as gantool.runtime. Godot 4.
#
#     var sampler = Sampler.new(FileAccess.get_file_as_bytes("res://normals.f32"))
#     var z = sampler.normals(7, 0, 100)  # z of image 0 of seed 7, 100 numbers
class_name Sampler

const FIRST := -4211150333618737299  # 0xC58EFD154CE32F6D, as a signed number
var table: PackedFloat32Array


# normals: the bytes of normals.f32, 65,536 little-endian floats
func _init(normals: PackedByteArray) -> void:
	assert(normals.size() == 4 * 65536, "normals.f32 has 262,144 bytes")
	table = normals.to_float32_array()


# The odd key of a seed; numbers wrap around at 64 bits.
static func key(seed: int) -> int:
	var y := seed * FIRST
	var z := y + FIRST
	var x := _three_rounds(y, z)
	var t := x * x + z
	x = _turn(t)
	return (t + _high(x * x + y)) | 1


# The 32 bits of a counter.
static func bits(key: int, counter: int) -> int:
	var y := counter * key
	var z := y + key
	var x := _three_rounds(y, z)
	return _high(x * x + z)


# The normals of image `index` of a seed; 0 <= index < 2^47, 1 <= size <= 262144. Several latents of a generator share
# them: they are cut in the order of its inputs.
func normals(seed: int, index: int, size: int) -> PackedFloat32Array:
	var made := PackedFloat32Array()
	made.resize(size)
	@warning_ignore("integer_division")
	var count := (size + 1) / 2
	var own := key(seed)
	var start := index * (65536 if count <= 65536 else 131072)
	for j in count:
		var drawn := bits(own, start + j)
		made[j] = table[drawn >> 16]
		if count + j < size:
			made[count + j] = table[drawn & 65535]
	return made


static func _three_rounds(y: int, z: int) -> int:
	var x := _turn(y * y + y)
	x = _turn(x * x + z)
	return _turn(x * x + y)


static func _high(x: int) -> int:
	return (x >> 32) & 0xFFFFFFFF


static func _turn(x: int) -> int:
	return _high(x) | (x << 32)
