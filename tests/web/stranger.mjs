// What a page of a stranger's can do to a controller by way of a user's browser. Run in the user's network:
//
//   node stranger.mjs CHROMIUM PROFILES SITE CONTROLLER KEY-FILE LOCAL TLS SPKI
//
// SITE: the stranger's web server. CONTROLLER: the cluster's, with API keys; KEY-FILE holds one. LOCAL: one without any key,
// on the user's own loopback, where only what the browser says of a page's origin tells it from him. TLS: one with a certificate that no
// authority has signed; SPKI: the hash of its key. All of these are HOST:PORT. PROFILES: a directory for browser profiles.
//
// Prints a line for each try: WHAT, what became of it, and the same from a page of the controller's own; exits 1 where one
// went otherwise than it should. That a try came as far as the controller is known by its counter of refusals.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { chromium } from 'playwright-core'

const [executablePath, profiles, site, controller, keyFile, local, tls, spki] = process.argv.slice(2)
const key = readFileSync(keyFile, 'utf8').trim()
const flags = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  // Chromium has a guard of its own, and asks the user; what is tried here is ours
  '--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,LocalNetworkAccessChecksWebRTC,' +
    'BlockInsecurePrivateNetworkRequests,PrivateNetworkAccessSendPreflights,Translate,OptimizationHints,MediaRouter',
]
let wrong = 0

function line(what, good, became, controlGood, control) {
  wrong += !(good && controlGood)
  console.log(`${what.padEnd(74)} ${good ? '' : 'WRONG: '}${became} | control: ${controlGood ? '' : 'FAILED: '}${control}`)
}

async function refusals(of) {
  const answer = await fetch(`http://${of}/metrics`, { headers: of === controller ? { Authorization: `Bearer ${key}` } : {} })
  if (!answer.ok) throw new Error(`${of}/metrics: ${answer.status}`)
  const counts = {}
  for (const [, code, n] of (await answer.text()).matchAll(/^caravan_http_refused_total\{code="(\d+)"\} (\d+)/gm)) {
    counts[code] = Number(n)
  }
  return counts
}

// Each runs within a page: (base, headers) => what the page got to know, or that it failed.
const ways = {
  'fetch of /api/nodes': async (base, headers) => String((await fetch(`${base}/api/nodes`, { headers })).status),
  'fetch of /v1/models': async (base, headers) => String((await fetch(`${base}/v1/models`, { headers })).status),
  'fetch that may not read, POST /api/instances': async (base, headers) => {
    const mode = headers.Authorization ? 'cors' : 'no-cors'
    const answer = await fetch(`${base}/api/instances`, { method: 'POST', mode, headers, body: '{"model": "tiny"}' })
    return answer.type === 'opaque' ? 'opaque' : String(answer.status)
  },
  'fetch with JSON, POST /api/brake/lift': async (base, headers) => {
    const json = { ...headers, 'Content-Type': 'application/json' }
    return String((await fetch(`${base}/api/brake/lift`, { method: 'POST', headers: json, body: '{}' })).status)
  },
  'fetch, DELETE /api/instances/tiny2': async (base, headers) =>
    String((await fetch(`${base}/api/instances/tiny2`, { method: 'DELETE', headers })).status),
}
// ... and those that can carry no key.
const plainWays = {
  'a form, POST /api/instances': (base) => new Promise((done) => {
    const frame = Object.assign(document.createElement('iframe'), { name: `f${Math.random()}` })
    const form = Object.assign(document.createElement('form'), {
      action: `${base}/api/instances`, method: 'post', enctype: 'text/plain', target: frame.name,
    })
    form.append(Object.assign(document.createElement('input'), { name: '{"model": "tiny", "x": "', value: '"}' }))
    document.body.append(frame, form) // which loads an empty page into it
    frame.onload = () => done('sent')
    form.submit()
  }),
  'an image, /api/nodes': (base) => new Promise((done) => {
    const image = new Image()
    image.onload = () => done('an image')
    image.onerror = () => done('sent')
    image.src = `${base}/api/nodes?${Math.random()}`
  }),
  'a script, /api/nodes': (base) => new Promise((done) => {
    const script = document.createElement('script')
    script.onload = () => done('a script')
    script.onerror = () => done('sent')
    script.src = `${base}/api/nodes?${Math.random()}`
    document.body.append(script)
  }),
  'a frame, /api/nodes': (base) => new Promise((done) => {
    const frame = document.createElement('iframe')
    frame.onload = () => done('sent')
    frame.src = `${base}/api/nodes`
    document.body.append(frame)
  }),
  'events, /api/events': (base) => new Promise((done) => {
    const events = new EventSource(`${base}/api/events`)
    events.onopen = () => done('open') || events.close()
    events.onerror = () => done('sent') || events.close()
  }),
  'a beacon, POST /api/brake/lift': async (base) => {
    navigator.sendBeacon(`${base}/api/brake/lift`, 'x')
    await new Promise((done) => setTimeout(done, 1000))
    return 'sent'
  },
  'a WebSocket, /api/events': (base) => new Promise((done) => {
    const socket = new WebSocket(`${base.replace('http', 'ws')}/api/events`)
    socket.onopen = () => done('open')
    socket.onerror = () => done('sent')
  }),
}

async function tell(page, way, base, headers = {}) {
  try {
    return await page.evaluate(`(${way})(${JSON.stringify(base)}, ${JSON.stringify(headers)})`)
  } catch (e) {
    if (!/Failed to fetch/.test(e.message)) throw e
    return 'failed'
  }
}

// What `way` from `page` became, and which refusals were counted for it; `expected`: one that will be, sooner or later.
async function attempt(page, way, target, { headers, base = `http://${target}`, expected } = {}) {
  const before = await refusals(target)
  const told = await tell(page, way, base, headers)
  const limit = Date.now() + 20000
  let grown
  do {
    const after = await refusals(target)
    grown = Object.keys(after).filter((code) => after[code] > before[code])
  } while (expected && !grown.includes(expected) && Date.now() < limit)
  return { told, grown, text: grown.length ? `${told}, counted ${grown.join(' and ')}` : told }
}

// A page whose address is of the given origin. An empty one of our making: what it would hold is in the tries.
async function pageOf(browser, origin) {
  const page = await browser.newPage()
  await page.route(`${origin}/page`, (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><body>' }))
  await page.goto(`${origin}/page`)
  return page
}

async function crossSite(browser) {
  const page = await browser.newPage() // this one really comes from the stranger
  await page.goto(`http://${site}/`)
  const own = await pageOf(browser, `http://${controller}`)
  const ownLocal = await pageOf(browser, `http://${local}`)
  for (const [what, way] of Object.entries(ways)) {
    // /v1 says to anybody's page what it says to anybody without a key, as long as there are keys
    const good = (out, where) => out.told === 'failed' || (out.told === 'opaque' && out.grown.includes('403')) ||
      (out.told === '401' && out.grown.includes('401') && where === controller && what.includes(' /v1/'))
    const free = (out) => /^\d+$/.test(out.told) && !['401', '403', '421'].includes(out.told) && !out.grown.length
    let out = await attempt(page, way, controller)
    let control = await attempt(own, way, controller, { headers: { Authorization: `Bearer ${key}` } })
    line(`another site's page, ${what}`, good(out, controller), out.text, free(control), `${control.text} from its own, with a key`)
    out = await attempt(page, way, local)
    control = await attempt(ownLocal, way, local)
    line(`another site's page, no keys yet, ${what}`, good(out, local), out.text, free(control), `${control.text} from its own`)
  }
  for (const [what, way] of Object.entries(plainWays)) {
    const out = await attempt(page, way, local, { expected: '403' })
    const control = await attempt(ownLocal, way, local)
    line(`another site's page, no keys yet, ${what}`, out.told === 'sent' && out.grown.includes('403'), out.text,
      !control.grown.length, `${control.text} from its own`)
  }
}

async function rebinding(browser) {
  for (const [target, name, headers] of [
    [controller, 'evil-controller.test', { Authorization: `Bearer ${key}` }],
    [local, 'evil-local.test', {}],
  ]) {
    const origin = `http://${name}:${target.split(':')[1]}`
    const page = await pageOf(browser, origin) // its name leads to the controller by now
    const own = await pageOf(browser, `http://${target}`)
    for (const [what, way] of Object.entries(ways)) {
      const out = await attempt(page, way, target, { base: origin, expected: '421' })
      const control = await attempt(own, way, target, { headers })
      const was = out.told === '421' || (out.told === 'opaque' && out.grown.includes('421'))
      line(`rebinding${target === local ? ', no keys yet' : ''}, ${what}`, was && out.grown.includes('421'), out.text,
        /^\d+$/.test(control.told) && !control.grown.length, `${control.text} by its own name`)
    }
  }
}

// Whether Chromium speaks TLS with us where it was told of the certificate, and only there.
async function certificates(browser, strict) {
  const get = async (b, scheme) => {
    const page = await b.newPage()
    try {
      return String((await page.goto(`${scheme}://${tls}/api/health`)).status())
    } catch (e) {
      return /ERR_[A-Z_]+/.exec(e.message)?.[0] ?? e.message
    }
  }
  const known = await get(browser, 'https')
  const unknown = await get(strict, 'https')
  const plain = await get(browser, 'http')
  line('TLS, a certificate that Chromium does not know', unknown === 'ERR_CERT_AUTHORITY_INVALID', unknown,
    known === '200', `${known} where it does`)
  line('TLS, asked without', plain !== '200', plain, known === '200', `${known} with`)
}

const launch = (name, more = []) =>
  chromium.launchPersistentContext(path.join(profiles, name), { executablePath, args: [...flags, ...more] })
const browser = await launch('user', [
  `--host-resolver-rules=MAP evil-controller.test ${controller.split(':')[0]},MAP evil-local.test ${local.split(':')[0]}`,
  `--ignore-certificate-errors-spki-list=${spki}`,
])
const strict = await launch('strict')
console.log(`Chromium ${browser.browser()?.version() ?? ''}`)
await crossSite(browser)
await rebinding(browser)
await certificates(browser, strict)
await browser.close()
await strict.close()
process.exit(wrong ? 1 : 0)
