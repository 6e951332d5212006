// fanload: opens N server-sent-event subscribers from one epoll thread, publishes marked messages
// over a second HTTP connection, and reports deliveries, loss, latency and the server's own CPU and memory.
// Build: gcc -O2 -o fanload fanload.c ; bench/README.md has an example.
// What it measures is in poll_once, feed and marker: leave those alone, or figures taken before and after do not compare.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <getopt.h>

static uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }
static void die(const char *m) { perror(m); exit(2); }

struct sub { int fd; uint8_t st; uint8_t nd; uint8_t hdr; uint64_t val; uint32_t got; int64_t lastid; };
static struct sub *subs; static int nsubs = 1000;
static int ep;
static uint64_t *lat; static size_t nlat, caplat; static uint64_t lat_every = 1, lat_ctr;
static uint64_t delivered, bytes_in, closed_by_server, bad_order;

static void marker(struct sub *s, uint64_t v, uint64_t t) {
  s->got++; delivered++;
  if ((lat_ctr++ % lat_every) == 0 && nlat < caplat) lat[nlat++] = t > v ? t - v : 0;
  if ((int64_t)v <= s->lastid) bad_order++; // out of order, or a second time
  s->lastid = (int64_t)v;
}
// a marker is @@ followed by 19 digits: CLOCK_MONOTONIC nanoseconds at publish
static void feed(struct sub *s, const char *b, size_t n, uint64_t t) {
  const char *p = b, *e = b + n;
  while (p < e) {
    if (s->st == 0) { p = memchr(p, '@', e - p); if (!p) return; s->st = 1; p++; }
    else if (s->st == 1) { if (*p == '@') { s->st = 2; s->nd = 0; s->val = 0; } else s->st = 0; p++; }
    else { if (*p >= '0' && *p <= '9') { s->val = s->val * 10 + (*p - '0'); if (++s->nd == 19) { marker(s, s->val, t); s->st = 0; } p++; } else s->st = 0; }
  }
}
static double cpu_of(int *pids, int np) {
  double tot = 0; char path[64], buf[1024];
  for (int i = 0; i < np; i++) {
    snprintf(path, sizeof path, "/proc/%d/stat", pids[i]); int f = open(path, O_RDONLY); if (f < 0) continue;
    int n = read(f, buf, sizeof buf - 1); close(f); if (n <= 0) continue; buf[n] = 0;
    char *q = strrchr(buf, ')'); unsigned long ut = 0, st = 0;
    sscanf(q + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ut, &st);
    tot += (ut + st) / (double)sysconf(_SC_CLK_TCK);
  }
  return tot;
}
static double pss_of(int *pids, int np) { // kB
  double tot = 0; char path[64], line[256];
  for (int i = 0; i < np; i++) {
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pids[i]); FILE *f = fopen(path, "r"); if (!f) continue;
    while (fgets(line, sizeof line, f)) { double v; if (sscanf(line, "Pss: %lf", &v) == 1) tot += v; }
    fclose(f);
  }
  return tot;
}
static int cmp(const void *a, const void *b) { uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b; return x < y ? -1 : x > y; }

static char *host = "127.0.0.1"; static int port = 3008, pubport = 0; static char *path = "/events", *subhdr = "";
static char *pubpath = "/messages", *pubhdr = "Content-Type: application/json\r\n", *pubbody = "{\"user\":\"bench\",\"text\":\"{}\"}";
static int dial(int i, int block, int prt) {
  int fd = socket(AF_INET, SOCK_STREAM | (block ? 0 : SOCK_NONBLOCK), 0); if (fd < 0) die("socket");
  struct sockaddr_in src = {.sin_family = AF_INET}, dst = {.sin_family = AF_INET, .sin_port = htons(prt)};
  char a[32]; snprintf(a, sizeof a, "127.0.%d.%d", i / 20000 + 1, 1); inet_pton(AF_INET, a, &src.sin_addr);
  int one = 1; setsockopt(fd, SOL_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
  if (bind(fd, (void *)&src, sizeof src)) die("bind");
  inet_pton(AF_INET, host, &dst.sin_addr);
  if (connect(fd, (void *)&dst, sizeof dst) && errno != EINPROGRESS) die("connect");
  return fd;
}
static char rb[1 << 18];
static int poll_once(int timeout_ms, int *opened, int *failed) {
  struct epoll_event ev[1024]; int n = epoll_wait(ep, ev, 1024, timeout_ms); uint64_t t = now_ns();
  for (int i = 0; i < n; i++) {
    struct sub *s = &subs[ev[i].data.u32];
    for (;;) {
      ssize_t r = read(s->fd, rb, sizeof rb);
      if (r > 0) {
        bytes_in += r;
        if (!s->hdr) { s->hdr = 1; if (r > 12 && memcmp(rb + 9, "200", 3) == 0) (*opened)++; else { (*failed)++; if (*failed < 3) fprintf(stderr, "bad reply: %.*s\n", (int)(r > 200 ? 200 : r), rb); } }
        feed(s, rb, r, t);
        if (r < (ssize_t)sizeof rb) break;
      } else if (r == 0 || (errno != EAGAIN && errno != EINTR)) { closed_by_server++; epoll_ctl(ep, EPOLL_CTL_DEL, s->fd, 0); close(s->fd); s->fd = -1; break; }
      else break;
    }
  }
  return n;
}
int main(int argc, char **argv) {
  int msgs = 200, window = 1, size = 100, npids = 0, pids[64], conc = 256, idle_s = 2; double rate = 0; char *label = "?"; int c; double timeout_s = 60, send_s = 0;
  while ((c = getopt(argc, argv, "H:p:P:u:h:U:X:B:n:m:w:s:i:l:r:I:T:c:d:")) != -1) switch (c) {
    case 'H': host = optarg; break; case 'p': port = atoi(optarg); break; case 'P': pubport = atoi(optarg); break;
    case 'u': path = optarg; break; case 'h': subhdr = optarg; break; case 'U': pubpath = optarg; break;
    case 'X': pubhdr = optarg; break; case 'B': pubbody = optarg; break; case 'n': nsubs = atoi(optarg); break;
    case 'm': msgs = atoi(optarg); break; case 'w': window = atoi(optarg); break; case 's': size = atoi(optarg); break;
    case 'i': pids[npids++] = atoi(optarg); break; case 'l': label = optarg; break; case 'r': rate = atof(optarg); break;
    case 'I': idle_s = atoi(optarg); break; case 'T': timeout_s = atof(optarg); break; case 'c': conc = atoi(optarg); break;
    case 'd': send_s = atof(optarg); break; // seconds after which no message is published
  }
  if (!pubport) pubport = port;
  struct rlimit rl = {nsubs + 1000, nsubs + 1000}; if (setrlimit(RLIMIT_NOFILE, &rl)) { getrlimit(RLIMIT_NOFILE, &rl); rl.rlim_cur = rl.rlim_max; setrlimit(RLIMIT_NOFILE, &rl); }
  subs = calloc(nsubs, sizeof *subs); ep = epoll_create1(0);
  caplat = 4000000; lat = malloc(caplat * 8); uint64_t expect_all = (uint64_t)nsubs * msgs; lat_every = expect_all / caplat + 1;
  char req[4096]; int reqn = snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n%s\r\n", path, host, port, subhdr);
  double pss0 = pss_of(pids, npids); int opened = 0, failed = 0; uint64_t t0 = now_ns();
  for (int i = 0; i < nsubs; i++) {
    int fd = dial(i, 1, port); if (write(fd, req, reqn) != reqn) die("write");
    fcntl(fd, F_SETFL, O_NONBLOCK); subs[i].fd = fd;
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = i}; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    poll_once(0, &opened, &failed);
    while (i - opened - failed > conc && now_ns() - t0 < timeout_s * 1e9) if (poll_once(1000, &opened, &failed) == 0) break;
  }
  // some servers send headers only with the first event: give them a moment, do not insist
  uint64_t tw = now_ns(); while (opened + failed < nsubs && now_ns() - tw < 1500000000ull) poll_once(50, &opened, &failed);
  double conn_s = (now_ns() - t0) / 1e9; int answered = opened;
  tw = now_ns(); while (now_ns() - tw < idle_s * 1000000000ull) poll_once(50, &opened, &failed);
  double pss1 = pss_of(pids, npids), cpu0 = cpu_of(pids, npids);
  int pfd = dial(0, 1, pubport); int one = 1; setsockopt(pfd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event unused; (void)unused;
  fcntl(pfd, F_SETFL, O_NONBLOCK);
  char *filler = malloc(size + 1); memset(filler, 'x', size); filler[size] = 0;
  uint64_t base = delivered, start = now_ns(), deadline = start + (uint64_t)(timeout_s * 1e9), last_progress = start, last_del = delivered; int sent = 0; uint64_t pub_ok = 0, pub_err = 0;
  struct rusage ru0; getrusage(RUSAGE_SELF, &ru0);
  int pstate_outstanding = 0; static char pb[65536]; int pbn = 0;
  while (now_ns() < deadline) {
    uint64_t done = (delivered - base) / nsubs; uint64_t n = now_ns();
    if (send_s > 0 && sent < msgs && n - start > send_s * 1e9) msgs = sent;
    int may = rate > 0 ? (int)((n - start) / 1e9 * rate) + 1 - sent : (int)(done + window) - sent;
    if (sent < msgs && may > 0 && pstate_outstanding < 64 && (pstate_outstanding == 0 || window > 1 || rate > 0)) {
      char body[20000], out[24000], mark[64]; uint64_t ts = now_ns(); snprintf(mark, sizeof mark, "@@%019llu", (unsigned long long)ts);
      char payload[16000]; int fill = size - 21; if (fill < 0) fill = 0; snprintf(payload, sizeof payload, "%s%.*s", mark, fill, filler);
      char *br = strstr(pubbody, "{}"); int bn;
      if (br) bn = snprintf(body, sizeof body, "%.*s%s%s", (int)(br - pubbody), pubbody, payload, br + 2); else bn = snprintf(body, sizeof body, "%s", payload);
      int on = snprintf(out, sizeof out, "POST %s HTTP/1.1\r\nHost: %s:%d\r\n%sContent-Length: %d\r\n\r\n%s", pubpath, host, pubport, pubhdr, bn, body);
      int off = 0; while (off < on) { int w = write(pfd, out + off, on - off); if (w > 0) off += w; else if (errno != EAGAIN) die("publish"); }
      sent++; pstate_outstanding++;
    }
    int r = read(pfd, pb + pbn, sizeof pb - 1 - pbn);
    if (r == 0) { fprintf(stderr, "publisher connection closed\n"); close(pfd); pfd = dial(0, 1, pubport); fcntl(pfd, F_SETFL, O_NONBLOCK); pstate_outstanding = 0; pbn = 0; }
    if (r > 0) { pbn += r; pb[pbn] = 0; char *q = pb, *h; while ((h = strstr(q, "HTTP/1.1 "))) { if (h[9] == '2') pub_ok++; else { if (!pub_err) fprintf(stderr, "publish reply: %.200s\n", h); pub_err++; } pstate_outstanding--; q = h + 9; } int keep = pbn - (q - pb); if (keep > 8) { q += keep - 8; keep = 8; } memmove(pb, q, keep); pbn = keep; if (pstate_outstanding < 0) pstate_outstanding = 0; }
    poll_once(sent < msgs && (rate > 0 || window > 1) ? 0 : 1, &opened, &failed);
    if (delivered != last_del) { last_del = delivered; last_progress = now_ns(); }
    if (sent >= msgs && delivered - base >= (uint64_t)nsubs * msgs) break;
    if (now_ns() - last_progress > 8000000000ull) break;
  }
  uint64_t end = delivered != base ? last_progress : now_ns(); double wall = (end - start) / 1e9, cpu1 = cpu_of(pids, npids);
  double pss2 = pss_of(pids, npids);
  int uneven = 0; for (int i = 0; i < nsubs; i++) if (subs[i].got != (uint32_t)sent) uneven++; // subscribers that did not get each message once
  struct rusage ru1; getrusage(RUSAGE_SELF, &ru1); double ccpu = (ru1.ru_utime.tv_sec - ru0.ru_utime.tv_sec + ru1.ru_stime.tv_sec - ru0.ru_stime.tv_sec) + (ru1.ru_utime.tv_usec - ru0.ru_utime.tv_usec + ru1.ru_stime.tv_usec - ru0.ru_stime.tv_usec) / 1e6;
  qsort(lat, nlat, 8, cmp); uint64_t got = delivered - base;
#define Q(p) (nlat ? lat[(size_t)((nlat - 1) * (p))] / 1e6 : 0)
  printf("{\"label\":\"%s\",\"subs\":%d,\"opened\":%d,\"answered\":%d,\"failed\":%d,\"conn_per_s\":%.0f,\"kB_per_idle_sub\":%.2f,\"kB_per_sub_after\":%.2f,\"msgs\":%d,\"pub_ok\":%llu,\"pub_err\":%llu,\"delivered\":%llu,\"missing\":%lld,\"uneven\":%d,\"closed\":%llu,\"bad_order\":%llu,\"wall_s\":%.3f,\"deliv_per_s\":%.0f,\"srv_us_per_deliv\":%.3f,\"client_us_per_deliv\":%.3f,\"lat_ms_p50\":%.3f,\"p99\":%.3f,\"max\":%.3f,\"bytes_per_deliv\":%.1f}\n",
    label, nsubs, opened, answered, failed, nsubs / conn_s, (pss1 - pss0) / nsubs, (pss2 - pss0) / nsubs, sent, (unsigned long long)pub_ok, (unsigned long long)pub_err, (unsigned long long)got, (long long)((uint64_t)nsubs * sent - got), uneven, (unsigned long long)closed_by_server, (unsigned long long)bad_order, wall, got / wall, got ? (cpu1 - cpu0) * 1e6 / got : 0, got ? ccpu * 1e6 / got : 0, Q(.5), Q(.99), Q(1), got ? (double)bytes_in / delivered : 0);
  return 0;
}
