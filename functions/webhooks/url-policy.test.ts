import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decideUrl, urlPolicy } from "./url-policy.ts";

const policy = urlPolicy({ WEBHOOK_OWN_ZONES: "causeway.dev, edge.causeway.net" });
const local = urlPolicy({ WEBHOOK_ALLOW_LOOPBACK: "true" });
const ok = (text: string) => decideUrl(text, policy).ok;

describe("an address of an endpoint", () => {
  it.each([
    "https://hooks.acme.com/causeway",
    "https://hooks.acme.com:443/x?y=1",
    "https://HOOKS.Acme.com./x",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]/",
    "https://[2001:4860:4860::8888]/",
    "https://xn--bcher-kva.de/",
    "https://bücher.de/",
    "https://localhost.acme.com/",
    "https://127.0.0.1.acme.com/",
    "https://internal.acme.com/",
    "https://notcauseway.dev/",
  ])("may be %s", (text) => {
    expect(decideUrl(text, policy)).toMatchObject({ ok: true });
  });

  it.each([
    ["http", "http://hooks.acme.com/"],
    ["another scheme", "ftp://hooks.acme.com/"],
    ["another scheme", "file:///etc/passwd"],
    ["another scheme", "javascript:alert(1)"],
    ["another scheme", "data:text/html,x"],
    ["no URL", "hooks.acme.com"],
    ["no URL", "//hooks.acme.com/"],
    ["no URL", ""],
    ["no URL", "https://"],
    ["credentials", "https://user:secret@hooks.acme.com/"],
    ["credentials", "https://hooks.acme.com@127.0.0.1/"],
    ["credentials", "https://user@hooks.acme.com/"],
    ["another port", "https://hooks.acme.com:8443/"],
    ["another port", "https://hooks.acme.com:22/"],
    ["another port", "https://hooks.acme.com:80/"],
    ["port 0", "https://hooks.acme.com:0/"],
    ["a fragment", "https://hooks.acme.com/#x"],
    ["a space", "https://hooks.acme.com/ x"],
    ["a tab in the host", "https://127.0\t.0.1/"],
    ["a line end", "https://hooks.acme.com/\r\nx-a: b"],
    ["a backslash", "https:\\\\127.0.0.1\\"],
    ["a backslash", "https://hooks.acme.com\\@127.0.0.1/"],
    ["an address without end", `https://hooks.acme.com/${"x".repeat(2_000)}`],
    ["a name of one label", "https://intranet/"],
    ["localhost", "https://localhost/"],
    ["localhost with a dot", "https://localhost./"],
    ["localhost with two", "https://localhost../"],
    ["localhost in capitals", "https://LOCALHOST/"],
    ["under localhost", "https://a.localhost/"],
    [".local", "https://printer.local/"],
    [".local with a dot", "https://printer.local./"],
    [".internal", "https://metadata.google.internal/computeMetadata/v1/"],
    [".internal in full width", "https://metadata.google.ｉｎｔｅｒｎａｌ/"],
    ["home.arpa", "https://nas.home.arpa/"],
    ["our own zone", "https://causeway.dev/v1/webhooks"],
    ["under our own zone", "https://api.causeway.dev/"],
    ["our own zone with a dot", "https://API.CAUSEWAY.DEV./"],
    ["our own deeper zone", "https://edge.causeway.net/"],
    ["a bare number as last label", "https://1.2.3.4.5/"],
    ["percent-encoded", "https://%31%32%37.0.0.1/"],
    ["full-width digits", "https://１２７.0.0.1/"],
    ["an ideographic dot", "https://127。0。0。1/"],
  ])("is never %s: %s", (_, text) => {
    expect(ok(text)).toBe(false);
  });

  const notations = (ip: string): string[] => {
    const [a, b, c, d] = ip.split(".").map(Number) as [number, number, number, number];
    const whole = ((a * 256 + b) * 256 + c) * 256 + d;
    const oct = (n: number) => `0${n.toString(8)}`;
    const hex = (n: number) => `0x${n.toString(16)}`;
    const pair = (x: number, y: number) => (x * 256 + y).toString(16);
    const mapped = `${pair(a, b)}:${pair(c, d)}`;
    return [
      ip,
      `${ip}.`,
      String(whole),
      hex(whole),
      hex(whole).toUpperCase().replace("X", "x"),
      oct(whole),
      [a, b, c, d].map(oct).join("."),
      [a, b, c, d].map(hex).join("."),
      `${hex(a)}.${oct(b)}.${c}.${d}`,
      `0000${a.toString(8)}.${b}.${c}.${d}`,
      `${a}.${b}.${c * 256 + d}`,
      `${a}.${(b * 256 + c) * 256 + d}`,
      `${hex(a)}.${(b * 256 + c) * 256 + d}`,
      `[::ffff:${ip}]`,
      `[::ffff:${mapped}]`,
      `[0:0:0:0:0:ffff:${mapped}]`,
      `[0000:0000:0000:0000:0000:FFFF:${mapped}]`,
      `[::${ip}]`,
      `[::${mapped}]`,
      `[::ffff:0:${ip}]`,
      `[64:ff9b::${ip}]`,
      `[64:ff9b:1::${mapped}]`,
      `[64:ff9b:1:ffff::${mapped}]`,
      `[2002:${mapped}::]`,
      `[2002:${mapped}::1]`,
      `[2001:0:${mapped}:0:0:0:0]`,
      `[2001:0:4136:e378:8000:63bf:${((a * 256 + b) ^ 0xffff).toString(16)}:${((c * 256 + d) ^ 0xffff).toString(16)}]`,
      `[2606:4700::5efe:${mapped}]`,
      `[2606:4700::200:5efe:${mapped}]`,
      `[fe80::1%25eth0]`,
      `[fe80::1%eth0]`,
    ];
  };

  it("is one that the parser takes in those notations: else the tests below would show nothing", () => {
    const taken = notations("8.8.8.8").filter((host) => URL.canParse(`https://${host}/`));
    expect(taken.length).toBeGreaterThan(25);
    expect(
      notations("8.8.8.8")
        .slice(0, 13)
        .filter((host) => !ok(`https://${host}/`)),
    ).toEqual([]);
  });

  const special: [string, string][] = [
    ["this network", "0.0.0.0"],
    ["this network", "0.1.2.3"],
    ["private", "10.0.0.1"],
    ["private", "10.255.255.255"],
    ["carrier-grade NAT", "100.64.0.1"],
    ["carrier-grade NAT", "100.127.255.255"],
    ["Alibaba's metadata", "100.100.100.200"],
    ["loopback", "127.0.0.1"],
    ["loopback", "127.255.255.254"],
    ["link-local", "169.254.1.1"],
    ["metadata", "169.254.169.254"],
    ["metadata of ECS", "169.254.170.2"],
    ["private", "172.16.0.1"],
    ["private", "172.31.255.255"],
    ["protocol assignment", "192.0.0.192"],
    ["documentation", "192.0.2.1"],
    ["private", "192.168.0.1"],
    ["benchmark", "198.18.0.1"],
    ["benchmark", "198.19.255.255"],
    ["documentation", "198.51.100.1"],
    ["documentation", "203.0.113.255"],
    ["multicast", "224.0.0.1"],
    ["multicast", "239.255.255.255"],
    ["reserved", "240.0.0.1"],
    ["broadcast", "255.255.255.255"],
    ["Azure's host", "168.63.129.16"],
  ];

  it.each(special)("is never a %s address in any notation: %s", (_, ip) => {
    expect(notations(ip).filter((host) => ok(`https://${host}/`))).toEqual([]);
  });

  it("is never an IPv6 address that is not public, or that carries an IPv4 address, a public one too", () => {
    const addresses = [
      "::",
      "::1",
      "0:0:0:0:0:0:0:1",
      "fe80::1",
      "febf::1",
      "fec0::1",
      "fc00::1",
      "fd00:ec2::254",
      "fd12:3456:789a::1",
      "ff02::1",
      "ff0e::1",
      "100::1",
      "2001:db8::1",
      "2001:10::1",
      "2001:20::1",
      "3fff::1",
      "5f00::1",
      "4000::1",
      "::ffff:8.8.8.8",
      "::8.8.8.8",
      "64:ff9b::8.8.8.8",
      "2002:808:808::1",
      "2001::1",
    ];
    expect(addresses.map((address) => `https://[${address}]/`).filter(ok)).toEqual([]);
  });

  it("is judged by its number, whatever the notation: 3,000 random addresses in 13 of them", () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.log(`notations: seed ${seed}`);
    fc.assert(
      fc.property(fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)), (bytes) => {
        const ip = bytes.join(".");
        const plain = ok(`https://${ip}/`);
        for (const notation of notations(ip).slice(0, 13)) {
          if (ok(`https://${notation}/`) !== plain) throw new Error(`${notation} is not judged as ${ip}`);
        }
        // Addresses inside IPv6 ones are refused whatever they are.
        for (const notation of notations(ip).slice(13)) {
          if (ok(`https://${notation}/`)) throw new Error(`${notation} is allowed`);
        }
      }),
      { seed, numRuns: 3_000 },
    );
  });

  it("is, once parsed, what is fetched: the parser's own form is judged alike", () => {
    for (const text of ["https://HOOKS.acme.com:443", "https://0x8.8.8.8/", "https://134744072/"]) {
      const first = decideUrl(text, policy);
      if (!first.ok) throw new Error(text);
      expect(decideUrl(first.url, policy)).toEqual(first);
    }
  });

  it("may be of this machine where a local run says so, and of nothing else that is private", () => {
    for (const text of [
      "http://127.0.0.1:9000/x",
      "http://localhost:9000/",
      "http://[::1]:9000/",
      "https://127.0.0.1/",
    ])
      expect(decideUrl(text, local), text).toMatchObject({ ok: true });
    for (const text of [
      "http://10.0.0.1:9000/",
      "http://169.254.169.254/",
      "https://192.168.0.1/",
      "http://hooks.acme.com/",
      "http://u:p@127.0.0.1/",
      "ftp://127.0.0.1/",
      "http://[::ffff:10.0.0.1]/",
      "http://0.0.0.0:9000/",
    ])
      expect(decideUrl(text, local), text).toMatchObject({ ok: false });
    expect(decideUrl("http://127.0.0.1:9000/", urlPolicy({ WEBHOOK_ALLOW_LOOPBACK: "1" }))).toMatchObject({
      ok: false,
    });
  });

  it("may have other ports where an operator lists them", () => {
    const wider = urlPolicy({ WEBHOOK_PORTS: "443, 8443" });
    expect(decideUrl("https://hooks.acme.com:8443/", wider)).toMatchObject({ ok: true });
    expect(decideUrl("https://hooks.acme.com:9443/", wider)).toMatchObject({ ok: false });
  });
});
