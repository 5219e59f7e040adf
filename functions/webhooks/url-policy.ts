/**
 * Which addresses webhooks may go to: one policy, for the API that stores an address and for the Worker that sends to
 * it. The address is parsed once, by the URL parser that `fetch` uses too, which turns every notation of an IPv4
 * address (decimal, octal, hexadecimal, short) into four numbers; what is looked at is what is connected to.
 *
 * What a name resolves to cannot be seen from a Worker. On Cloudflare `global_fetch_strictly_public` keeps `fetch` to
 * the public Internet; anywhere else the network has to (functions/webhooks/README.md).
 */

export interface UrlPolicy {
  /** A local run: plain http to this machine's loopback, on any port. Everything else stays refused. */
  readonly allowLoopback: boolean;
  /** The platform's own zones, such as `causeway.example`: neither they nor what is under them. */
  readonly ownZones: readonly string[];
  readonly ports: readonly number[];
}

export type UrlDecision =
  | { readonly ok: true; readonly url: string }
  | { readonly ok: false; readonly because: string };

const MAX_LENGTH = 2_000;

/** From a Worker's variables: `WEBHOOK_ALLOW_LOOPBACK`, `WEBHOOK_OWN_ZONES` and `WEBHOOK_PORTS` (comma-separated). */
export function urlPolicy(vars: UrlPolicyVars): UrlPolicy {
  const list = (text = "") => text.split(",").flatMap((part) => part.trim() || []);
  const ports = list(vars.WEBHOOK_PORTS).map(Number).filter(Number.isInteger);
  return {
    allowLoopback: vars.WEBHOOK_ALLOW_LOOPBACK === "true",
    ownZones: list(vars.WEBHOOK_OWN_ZONES).map((zone) => zone.toLowerCase()),
    ports: ports.length > 0 ? ports : [443],
  };
}

export interface UrlPolicyVars {
  readonly WEBHOOK_ALLOW_LOOPBACK?: string;
  readonly WEBHOOK_OWN_ZONES?: string;
  readonly WEBHOOK_PORTS?: string;
}

/** The address as it will be fetched, or why it will not be. */
export function decideUrl(text: string, policy: UrlPolicy): UrlDecision {
  const no = (because: string): UrlDecision => ({ ok: false, because });
  if (text.length > MAX_LENGTH) return no(`an address has at most ${MAX_LENGTH} characters`);
  // The parser drops tabs and line ends and trims: what a person reads would not be what is fetched.
  if (/[\s\p{Cc}\\]/u.test(text)) return no("an address has no spaces, control characters or backslashes");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url) return no("that is not an absolute URL");
  if (url.username || url.password) return no("an address carries no user name and no password");
  if (url.hash) return no("an address has no fragment");
  // Names compare without the dot of the root, in lower case (the parser has seen to that) and in ASCII.
  const host = url.hostname.replace(/\.+$/, "");
  const port = url.port === "" ? (url.protocol === "http:" ? 80 : 443) : Number(url.port);

  const address = addressOf(host);
  if (policy.allowLoopback && (host === "localhost" || (address && isLoopback(address)))) {
    return url.protocol === "http:" || url.protocol === "https:"
      ? { ok: true, url: url.href }
      : no("only http and https");
  }
  if (url.protocol !== "https:") return no("only https");
  if (!policy.ports.includes(port)) return no(`only port ${policy.ports.join(", ")}`);
  if (address) {
    const special = specialUse(address);
    if (special) return no(`${special} addresses are refused`);
    return { ok: true, url: url.href };
  }
  const reason = refusedName(host, policy.ownZones);
  return reason ? no(reason) : { ok: true, url: url.href };
}

/** Names that mean this machine or this network, or are kept from the public DNS (RFC 6761, 6762, 8375, 9476). */
const PRIVATE_SUFFIXES = [
  "localhost",
  "localdomain",
  "local",
  "internal",
  "intranet",
  "private",
  "corp",
  "home",
  "lan",
  "home.arpa",
  "in-addr.arpa",
  "ip6.arpa",
  "test",
  "example",
  "invalid",
  "onion",
  "alt",
];

function refusedName(host: string, ownZones: readonly string[]): string | undefined {
  if (
    !/^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(host)
  ) {
    return "the host must be a full name, such as hooks.example.com";
  }
  const isUnder = (zone: string) => host === zone || host.endsWith(`.${zone}`);
  const suffix = PRIVATE_SUFFIXES.find(isUnder);
  if (suffix) return `names under .${suffix} are refused`;
  if (ownZones.some(isUnder)) return "the platform does not call itself";
  // A last label of digits is an address in every resolver that is older than the URL standard.
  if (/(^|\.)\d+$/.test(host)) return "the host must be a name or a full address";
  return undefined;
}

/** Bytes of an address: 4 or 16. */
type Address = readonly number[];

function addressOf(host: string): Address | undefined {
  if (host.startsWith("[")) return parseIpv6(host.slice(1, -1));
  const parts = host.split(".");
  return parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part)) ? parts.map(Number) : undefined;
}

/** As the URL parser writes them: lower case, hexadecimal groups, at most one `::`, no dotted end, no zone. */
function parseIpv6(text: string): Address {
  const [left = "", right] = text.split("::");
  const groups = (half: string) =>
    half === "" ? [] : half.split(":").map((group) => Number.parseInt(group, 16));
  const [head, tail] = [groups(left), groups(right ?? "")];
  const zeros = right === undefined ? 0 : 8 - head.length - tail.length;
  return [...head, ...Array<number>(zeros).fill(0), ...tail].flatMap((group) => [group >> 8, group & 255]);
}

const isLoopback = (address: Address): boolean =>
  address.length === 4 ? address[0] === 127 : isIn(address, "0000000000000000000000000000000100", 128);

/** IANA's special-purpose registry for IPv4 (RFC 6890 and its successors), by prefix. */
const IPV4: readonly (readonly [prefix: string, bits: number, what: string])[] = [
  ["0.0.0.0", 8, "this network's"],
  ["10.0.0.0", 8, "private"],
  ["100.64.0.0", 10, "carrier-grade NAT"],
  ["127.0.0.0", 8, "loopback"],
  ["169.254.0.0", 16, "link-local and metadata"],
  ["172.16.0.0", 12, "private"],
  ["192.0.0.0", 24, "protocol assignment"],
  ["192.0.2.0", 24, "documentation"],
  ["192.31.196.0", 24, "special-purpose"],
  ["192.52.193.0", 24, "special-purpose"],
  ["192.88.99.0", 24, "6to4 relay"],
  ["192.168.0.0", 16, "private"],
  ["192.175.48.0", 24, "special-purpose"],
  ["198.18.0.0", 15, "benchmark"],
  ["198.51.100.0", 24, "documentation"],
  ["203.0.113.0", 24, "documentation"],
  ["224.0.0.0", 4, "multicast"],
  ["240.0.0.0", 4, "reserved"],
  // Metadata services that stand on public addresses: Azure's host, Alibaba's is in carrier-grade NAT.
  ["168.63.129.16", 32, "metadata"],
];

function specialUse(address: Address): string | undefined {
  return address.length === 4 ? specialIpv4(address) : specialIpv6(address);
}

function specialIpv4(address: Address): string | undefined {
  return IPV4.find(([prefix, bits]) => sharesPrefix(address, prefix.split(".").map(Number), bits))?.[2];
}

/**
 * Only global unicast (2000::/3) is public, and of that not what carries an IPv4 address in it: whoever may write
 * `2002:7f00:1::` reaches 127.0.0.1 where a gateway translates. Real receivers have no such addresses.
 */
function specialIpv6(address: Address): string | undefined {
  if (isIn(address, "00000000000000000000ffff", 96)) return "IPv4-mapped";
  if (isIn(address, "0064ff9b", 32)) return "NAT64";
  if (isIn(address, "000000000000000000000000", 96)) {
    return address.slice(12).every((byte, i) => byte === (i === 3 ? 1 : 0)) ? "loopback" : "IPv4-compatible";
  }
  if (isIn(address, "fe80", 10)) return "link-local";
  if (isIn(address, "fec0", 10)) return "site-local";
  if (isIn(address, "fc", 7)) return "private";
  if (isIn(address, "ff", 8)) return "multicast";
  if (!isIn(address, "20", 3)) return "reserved";
  if (isIn(address, "2002", 16)) return "6to4";
  if (isIn(address, "20010000", 32)) return "Teredo";
  if (isIn(address, "2001", 23)) return "protocol assignment";
  if (isIn(address, "20010db8", 32)) return "documentation";
  if (isIn(address, "3fff", 20)) return "documentation";
  if (isIn(address, "5f00", 16)) return "segment routing";
  // ISATAP: an IPv4 address behind ::5efe, in whatever prefix.
  if (address[10] === 0x5e && address[11] === 0xfe && (address[8]! & 0xfc) === 0 && address[9] === 0)
    return "ISATAP";
  return undefined;
}

const isIn = (address: Address, hex: string, bits: number): boolean =>
  sharesPrefix(
    address,
    (hex.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)),
    bits,
  );

function sharesPrefix(address: Address, prefix: Address, bits: number): boolean {
  for (let bit = 0; bit < bits; bit += 8) {
    const mask = (0xff << Math.max(0, 8 - (bits - bit))) & 0xff;
    if (((address[bit / 8]! ^ (prefix[bit / 8] ?? 0)) & mask) !== 0) return false;
  }
  return true;
}
