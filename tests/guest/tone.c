/* "tone pcm CARD HZ": a sine of 1.5 seconds by ALSA's own calls, after the mixer was opened; "tone beep DEVICE HZ": the console's
   beep for a second, by an input device. */
#include <fcntl.h>
#include <linux/input.h>
#include <math.h>
#include <sound/asound.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { kRate = 48000, kFrames = kRate * 3 / 2, kPeriod = 1024 };

static int open_mixer(const char *card) {
  char path[64];
  struct snd_ctl_elem_list list = {0};
  snprintf(path, sizeof path, "/dev/snd/controlC%s", card);
  int control = open(path, O_RDWR);
  if (control < 0 || ioctl(control, SNDRV_CTL_IOCTL_ELEM_LIST, &list) < 0) return -1;
  list.space = list.count;
  list.pids = calloc(list.count, sizeof *list.pids);
  if (ioctl(control, SNDRV_CTL_IOCTL_ELEM_LIST, &list) < 0) return -1;
  for (unsigned i = 0; i < list.used; i++) {
    struct snd_ctl_elem_info info = {.id = list.pids[i]};
    struct snd_ctl_elem_value value = {.id = list.pids[i]};
    const char *name = (const char *)list.pids[i].name;
    if (strncmp(name, "Master Playback", 15) && strncmp(name, "PCM Playback", 12) && strncmp(name, "Speaker Playback", 16) &&
        strncmp(name, "Line Out Playback", 17) && strncmp(name, "Front Playback", 14))
      continue;
    if (ioctl(control, SNDRV_CTL_IOCTL_ELEM_INFO, &info) < 0) continue;
    for (unsigned n = 0; n < info.count; n++)
      value.value.integer.value[n] = info.type == SNDRV_CTL_ELEM_TYPE_BOOLEAN ? 1 : info.value.integer.max;
    if (info.type == SNDRV_CTL_ELEM_TYPE_BOOLEAN || info.type == SNDRV_CTL_ELEM_TYPE_INTEGER)
      ioctl(control, SNDRV_CTL_IOCTL_ELEM_WRITE, &value);
  }
  return 0;
}

static void set_mask(struct snd_pcm_hw_params *p, int which, unsigned bit) {
  struct snd_mask *mask = &p->masks[which - SNDRV_PCM_HW_PARAM_FIRST_MASK];
  memset(mask, 0, sizeof *mask);
  mask->bits[bit / 32] = 1u << (bit % 32);
}

static void set_interval(struct snd_pcm_hw_params *p, int which, unsigned value) {
  struct snd_interval *interval = &p->intervals[which - SNDRV_PCM_HW_PARAM_FIRST_INTERVAL];
  interval->min = interval->max = value;
  interval->integer = 1;
}

static int play(const char *card, double hz) {
  static short samples[2 * kFrames];
  static struct snd_pcm_hw_params p;
  char path[64];
  if (open_mixer(card) < 0) return perror("mixer"), 1;
  snprintf(path, sizeof path, "/dev/snd/pcmC%sD0p", card);
  int pcm = open(path, O_WRONLY);
  if (pcm < 0) return perror(path), 1;
  memset(&p, 0xff, sizeof p);
  p.flags = p.cmask = 0;
  for (unsigned i = 0; i < sizeof p.intervals / sizeof *p.intervals; i++)
    p.intervals[i] = (struct snd_interval){.min = 0, .max = ~0u};
  set_mask(&p, SNDRV_PCM_HW_PARAM_ACCESS, SNDRV_PCM_ACCESS_RW_INTERLEAVED);
  set_mask(&p, SNDRV_PCM_HW_PARAM_FORMAT, SNDRV_PCM_FORMAT_S16_LE);
  set_mask(&p, SNDRV_PCM_HW_PARAM_SUBFORMAT, SNDRV_PCM_SUBFORMAT_STD);
  set_interval(&p, SNDRV_PCM_HW_PARAM_CHANNELS, 2);
  set_interval(&p, SNDRV_PCM_HW_PARAM_RATE, kRate);
  // Not the least that there is: snd_intel8x0 mixes periods up when two of them end before it hears of the first.
  set_interval(&p, SNDRV_PCM_HW_PARAM_PERIOD_SIZE, kPeriod);
  if (ioctl(pcm, SNDRV_PCM_IOCTL_HW_PARAMS, &p) < 0 || ioctl(pcm, SNDRV_PCM_IOCTL_PREPARE) < 0) return perror("parameters"), 1;
  for (int i = 0; i < kFrames; i++) samples[2 * i] = samples[2 * i + 1] = 3500 * sin(2 * M_PI * hz * i / kRate);
  for (unsigned long done = 0; done < kFrames;) {
    struct snd_xferi part = {.buf = samples + 2 * done, .frames = kFrames - done};
    if (ioctl(pcm, SNDRV_PCM_IOCTL_WRITEI_FRAMES, &part) < 0) return perror("writing"), 1;
    done += part.result;
  }
  if (ioctl(pcm, SNDRV_PCM_IOCTL_DRAIN) < 0) return perror("draining"), 1;
  printf("played %d frames\n", kFrames);
  return 0;
}

static int beep(const char *device, int hz) {
  int file = open(device, O_WRONLY);
  struct input_event on = {.type = EV_SND, .code = SND_TONE, .value = hz}, off = {.type = EV_SND, .code = SND_TONE};
  if (file < 0 || write(file, &on, sizeof on) < 0) return perror(device), 1;
  sleep(1);
  if (write(file, &off, sizeof off) < 0) return perror(device), 1;
  puts("beeped");
  return 0;
}

int main(int count, char **words) {
  if (count < 4) return 1;
  return strcmp(words[1], "pcm") ? beep(words[2], atoi(words[3])) : play(words[2], atof(words[3]));
}
