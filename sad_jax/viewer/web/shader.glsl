#version 300 es
// One fragment: the K sites of smallest score among those of its tile, and what is shown of them.
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2D;

const int K = K_SITES;            // blended
const int LENGTH = K > 1 ? K : 2; // kept: a border is where the second best is as good as the first
const float INFINITE = 3e38;

uniform sampler2D sites;          // three texels a site, see diagram.js
uniform usampler2D starts, ids;   // of a tile the ids from starts[i] to starts[i + 1]
uniform sampler2D photo, ramp;
uniform vec2 first, pace;         // the point of the viewport's corner; canvas pixels a fragment
uniform vec2 size;                // of the canvas
uniform ivec2 tiles;              // columns, rows
uniform float side;               // of a tile
uniform int mode;                 // 0 picture, 1 owners, 2 temperature, 3 error
uniform int samples;              // a side of the grid of points that a fragment is the mean of
uniform float split;              // fragments left of it show the photograph
uniform float borders;            // width of the lines in fragments, 0 for none
uniform vec2 tauRange;            // of log tau
uniform float worst;              // the error that is shown brightest
uniform int chosen;               // the site whose influence is shown, or -1
uniform float others;             // brightness left where it has none
uniform vec3 outside;
out vec4 color;

float best[LENGTH];
int who[LENGTH];

ivec2 place(int index, ivec2 extent) { return ivec2(index % extent.x, index / extent.x); }
vec4 row(int index) { return texelFetch(sites, place(index, textureSize(sites, 0)), 0); }
int start(int index) { return int(texelFetch(starts, place(index, textureSize(starts, 0)), 0).r); }
int id(int index) { return int(texelFetch(ids, place(index, textureSize(ids, 0)), 0).r); }

void find(vec2 point) {
  for (int i = 0; i < LENGTH; ++i) best[i] = INFINITE, who[i] = 0;
  ivec2 tile = clamp(ivec2(floor((point + 0.5) / side)), ivec2(0), tiles - 1);
  int from = start(tile.y * tiles.x + tile.x), to = start(tile.y * tiles.x + tile.x + 1);
  for (int i = from; i < to; ++i) { // by rising id, so that of equal scores the first stays ahead
    int site = id(i);
    vec4 a = row(3 * site), b = row(3 * site + 1);
    vec2 offset = point - a.xy;
    float p = dot(a.zw, offset), q = (a.z * offset.y - a.w * offset.x) * b.x;
    float score = b.y * (sqrt(max(p * p + q * q, 1e-8)) - b.z);
    if (score >= best[LENGTH - 1]) continue;
    int at = LENGTH - 1;
    for (; at > 0 && best[at - 1] > score; --at) {
      best[at] = best[at - 1];
      who[at] = who[at - 1];
    }
    best[at] = score;
    who[at] = site;
  }
}

vec3 blend(out float share) { // share: the weight of the chosen site
  vec3 sum = vec3(0);
  float total = 0.0;
  share = 0.0;
  for (int i = 0; i < K; ++i) {
    float weight = exp(best[0] - best[i]);
    sum += weight * row(3 * who[i] + 2).rgb;
    total += weight;
    if (who[i] == chosen && best[i] < INFINITE) share = weight;
  }
  share /= total;
  return sum / total;
}

vec2 slope(int site, vec2 point) { // of its score
  vec4 a = row(3 * site), b = row(3 * site + 1);
  vec2 offset = point - a.xy, normal = b.x * vec2(-a.w, a.z);
  float p = dot(a.zw, offset), q = dot(normal, offset), squared = p * p + q * q;
  return squared > 1e-8 ? b.y * (p * a.zw + q * normal) / sqrt(squared) : vec2(0);
}

float border(vec2 point) { // 1 on the line between two owners, 0 away from it
  if (best[1] >= INFINITE) return 0.0;
  float steepness = length((slope(who[1], point) - slope(who[0], point)) * pace);
  float distance = (best[1] - best[0]) / max(steepness, 1e-9);
  return clamp(0.5 * borders + 0.5 - distance, 0.0, 1.0);
}

vec3 photoAt(vec2 point) {
  return texelFetch(photo, clamp(ivec2(floor(point + 0.5)), ivec2(0), ivec2(size) - 1), 0).rgb;
}

vec3 ramped(float value) {
  return texelFetch(ramp, ivec2(int(clamp(value, 0.0, 1.0) * 255.0 + 0.5), 0), 0).rgb;
}

vec3 shown(vec2 point, bool left) {
  if (any(lessThan(point, vec2(-0.5))) || any(greaterThan(point, size - 0.5))) return outside;
  if (left) return photoAt(point);
  find(point);
  float share;
  vec3 blended = clamp(blend(share), 0.0, 1.0), result = blended;
  if (mode == 1) result = clamp(row(3 * who[0] + 2).rgb, 0.0, 1.0);
  if (mode == 2)
    result = ramped((row(3 * who[0] + 1).a - tauRange.x) / max(tauRange.y - tauRange.x, 1e-6));
  if (mode == 3) {
    vec3 error = blended - photoAt(point);
    result = ramped(sqrt(dot(error, error) / 3.0) / worst);
  }
  if (chosen >= 0) result = mix(others * result, mix(result, vec3(1.0, 0.6, 0.1), 0.2), share);
  if (borders > 0.0) {
    float line = dot(result, vec3(1.0 / 3.0)) > 0.45 ? 0.0 : 1.0;
    result = mix(result, vec3(line), 0.7 * border(point));
  }
  return result;
}

void main() {
  vec3 sum = vec3(0);
  for (int i = 0; i < samples * samples; ++i) {
    vec2 within = (vec2(i % samples, i / samples) + 0.5) / float(samples);
    vec2 at = gl_FragCoord.xy - 0.5 + within;
    sum += shown(first + pace * at, at.x < split);
  }
  color = vec4(sum / float(samples * samples), 1);
}
