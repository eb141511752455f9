#!/usr/bin/env bash
# http-proxy (npm): the server behind it never hears that a reader has left
#
# Versions: http-proxy 1.18.1, against http-proxy-middleware 3.0.11 (which uses it), Node 20
# Guess:    the proxy closes its own request when the browser's connection goes.
# Seen:     it does not, not even while events are being written: they are read and thrown away. The middleware adds the
#           missing line itself: there the server hears of it within milliseconds.
# Why:      behind such a proxy (many development servers are built on it) an agent goes on and is paid for after every
#           closed tab, and "cancel on disconnect" seems broken in the server. Only a limit of the server's own helps:
#           a longest life of a stream, or a stop that the page sends.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
npm install --prefix "$dir" --silent --no-audit --no-fund --ignore-scripts http-proxy@1.18.1 http-proxy-middleware@3.0.11 >/dev/null
cat > "$dir/run.mjs" <<'E'
import http from 'node:http'
import httpProxy from 'http-proxy'
import { createProxyMiddleware } from 'http-proxy-middleware'
const listen = server => new Promise(go => server.listen(0, '127.0.0.1', () => go(server.address().port)))
const pause = ms => new Promise(go => setTimeout(go, ms))
const state = {}
const upstream = http.createServer((request, response) => {
  Object.assign(state, { written: 0, closed: false })
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  const tick = setInterval(() => { response.write('data: x\n\n'); state.written++ }, 50)
  response.on('close', () => { clearInterval(tick); state.closed = true })
})
const target = `http://127.0.0.1:${await listen(upstream)}`
const proxy = httpProxy.createProxyServer({ target })
proxy.on('error', () => {})
const middleware = createProxyMiddleware({ target })
const saw = {}
for (const [name, answer] of [['http-proxy', (q, r) => proxy.web(q, r)], ['http-proxy-middleware', (q, r) => middleware(q, r, () => r.end())]]) {
  const front = http.createServer(answer)
  const reader = http.request({ host: '127.0.0.1', port: await listen(front), path: '/' }, response => response.resume())
  reader.on('error', () => {})
  reader.end()
  await pause(500)
  reader.destroy()
  const atLeave = state.written
  await pause(3000)
  saw[name] = { closed: state.closed, 'written after the reader left': state.written - atLeave > 20 ? 'more than 20' : 'at most 20' }
  upstream.closeAllConnections()
  front.close()
  await pause(100)
}
console.log(JSON.stringify(saw))
const want = {
  'http-proxy': { closed: false, 'written after the reader left': 'more than 20' },
  'http-proxy-middleware': { closed: true, 'written after the reader left': 'at most 20' },
}
const same = JSON.stringify(saw) === JSON.stringify(want)
console.log(same ? '' : 'CHANGED')
process.exit(same ? 0 : 1)
E
node --no-deprecation "$dir/run.mjs"
