/* real library code, statically linked from Debian -dev packages */
#include <lua5.4/lauxlib.h>
#include <lua5.4/lua.h>
#include <lua5.4/lualib.h>
#include <lzma.h>
#include <sqlite3.h>
#include <zlib.h>
#include <zstd.h>
#include "bench.h"
static uint8_t* gen(size_t n) { /* text-like: Zipf-ish words with repetitions and some noise */
  uint8_t* p = malloc(n);
  uint64_t s = 0xABCDEF;
  static char w[512][12];
  for (int i = 0; i < 512; i++) {
    int l = 2 + (rng(&s) >> 61);
    for (int j = 0; j < l; j++) w[i][j] = 'a' + rng(&s) % 26;
    w[i][l] = 0;
  }
  size_t o = 0;
  while (o < n) {
    uint64_t r = rng(&s);
    unsigned k = (r & 511) * ((r >> 9) & 511) >> 9;
    const char* q = w[k];
    while (*q && o < n) p[o++] = *q++;
    if (o < n) p[o++] = (r >> 60) == 0 ? '\n' : (r >> 60) == 1 ? (uint8_t)(r >> 20) : ' ';
  }
  return p;
}
static uint64_t adl(const uint8_t* p, size_t n) {
  uint32_t a = 1, b = 0;
  for (size_t i = 0; i < n; i++) {
    a = (a + p[i]) % 65521;
    b = (b + a) % 65521;
  }
  return (b << 16) | a;
}
uint64_t w_gzip(int scale) {
  size_t n = (size_t)scale * 65536;
  uint8_t* d = gen(n);
  uLongf m = compressBound(n);
  uint8_t *o = malloc(m), *e = malloc(n);
  compress2(o, &m, d, n, 6);
  uLongf k = n;
  int rc = uncompress(e, &k, o, m);
  uint64_t h = adl(o, m) ^ ((uint64_t)(rc == 0 && !memcmp(d, e, n)) << 40);
  free(d);
  free(o);
  free(e);
  return h;
}
uint64_t w_zstd(int scale) {
  size_t n = (size_t)scale * 65536;
  uint8_t* d = gen(n);
  size_t m = ZSTD_compressBound(n);
  uint8_t *o = malloc(m), *e = malloc(n);
  m = ZSTD_compress(o, m, d, n, 6);
  uint64_t h = adl(o, m);
  for (int i = 0; i < 4; i++) {
    size_t k = ZSTD_decompress(e, n, o, m);
    h ^= (uint64_t)(k == n && !memcmp(d, e, n)) << (40 + i);
  }
  free(d);
  free(o);
  free(e);
  return h;
}
uint64_t w_xz(int scale) {
  size_t n = (size_t)scale * 65536;
  uint8_t* d = gen(n);
  size_t cap = n + 65536, m = 0;
  uint8_t* o = malloc(cap);
  lzma_easy_buffer_encode(2, LZMA_CHECK_CRC32, 0, d, n, o, &m, cap);
  uint64_t h = adl(o, m);
  free(d);
  free(o);
  return h;
}
static int cb(void* p, int n, char** v, char** c) {
  (void)c;
  uint64_t* h = p;
  for (int i = 0; i < n; i++)
    for (char* q = v[i]; q && *q; q++) *h = *h * 31 + *q;
  return 0;
}
uint64_t w_sqlite(int scale) {
  sqlite3* db;
  uint64_t h = 0, s = 17;
  sqlite3_open(":memory:", &db);
  sqlite3_exec(
      db, "create table t(a integer primary key,b integer,c text);create index ib on t(b);begin", 0,
      0, 0);
  sqlite3_stmt* st;
  sqlite3_prepare_v2(db, "insert into t(b,c) values(?,?)", -1, &st, 0);
  for (int i = 0; i < scale * 100; i++) {
    char b[40];
    int l = snprintf(b, 40, "row %d of %d", i, (int)(rng(&s) % 1000));
    sqlite3_bind_int(st, 1, rng(&s) % 5000);
    sqlite3_bind_text(st, 2, b, l, SQLITE_TRANSIENT);
    sqlite3_step(st);
    sqlite3_reset(st);
  }
  sqlite3_finalize(st);
  sqlite3_exec(db, "commit", 0, 0, 0);
  sqlite3_exec(db, "select b%10,count(*),sum(length(c)),max(c) from t group by 1 order by 2,1", cb,
               &h, 0);
  sqlite3_exec(db,
               "select x.c from t x join t y on x.b=y.b where y.a%37=0 and x.c like '%7%' order by "
               "x.c desc limit 50",
               cb, &h, 0);
  sqlite3_exec(db, "update t set b=b+1 where a%3=0;delete from t where b%7=2", 0, 0, 0);
  sqlite3_exec(db, "select count(*),sum(b) from t", cb, &h, 0);
  sqlite3_close(db);
  return h;
}
static const char prog[] =
    "local N=...\nlocal function fib(n) if n<2 then return n end return fib(n-1)+fib(n-2) "
    "end\nlocal h=fib(22+N%2)\nlocal t={}\nfor r=1,N do for i=1,2000 do t[i]=(i*7919+r)%1009 end "
    "table.sort(t) h=h+t[500]\n local s={} for i=1,300 do s[#s+1]=string.format('%d:%x',i,t[i]) "
    "end local c=table.concat(s,',') for w in c:gmatch('(%d+):') do h=h+#w end "
    "h=h+#c:gsub('1','22')\n local x=0.5 for i=1,3000 do x=x*3.7*(1-x) end "
    "h=h+math.floor(x*1000)\n local o={} for i=1,500 do o['k'..i]={v=i} end for k,v in pairs(o) do "
    "h=h+v.v end end return h";
uint64_t w_lua(int scale) {
  lua_State* L = luaL_newstate();
  luaL_openlibs(L);
  uint64_t h = 0;
  if (luaL_loadstring(L, prog)) return 1;
  lua_pushinteger(L, scale);
  if (lua_pcall(L, 1, 1, 0)) {
    fprintf(stderr, "lua: %s\n", lua_tostring(L, -1));
    return 2;
  }
  h = lua_tointeger(L, -1);
  lua_close(L);
  return h;
}
