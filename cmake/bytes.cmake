# cmake -DFROM=file -DTO=file.inc -P bytes.cmake: a file's bytes as the inside of a C array.
file(READ ${FROM} bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
file(WRITE ${TO} "${bytes}\n")
