// Source or target: where the server is, who logs in, and whether that works.

import { post } from '../api.js';
import { fill, h } from '../dom.js';
import { busy, button, field, input, problem, select, textarea } from '../form.js';
import { duration, words } from '../format.js';
import { badge, plainBadge } from '../state.js';
import { draft, endpointOf, problems } from './draft.js';

const MODES = [
  ['disable', 'Disable: never encrypted'], ['allow', 'Allow: encrypted if the server insists'],
  ['prefer', 'Prefer: encrypted if possible'], ['require', 'Require: always encrypted'],
  ['verifyCa', 'Verify CA: encrypted, certificate checked'], ['verifyFull', 'Verify full: and the host name checked'],
];

const TYPES = [
  ['OnPremises', 'On premises'], ['AWS_RDS', 'Amazon RDS'], ['AWS_AURORA', 'Amazon Aurora'], ['AWS_EC2', 'Amazon EC2'],
  ['GCP_CloudSQL', 'Google Cloud SQL'], ['GCP_AlloyDB', 'Google AlloyDB'], ['GCP_Compute', 'Google Compute Engine'],
  ['AzureVM', 'Azure virtual machine'], ['PostgreSQLSingleServer', 'Azure single server'], ['PostgreSQLFlexibleServer', 'Azure flexible server'],
  ['EDB', 'EDB'], ['Supabase_PostgreSQL', 'Supabase'], ['Heroku_PostgreSQL', 'Heroku'], ['Crunchy_PostgreSQL', 'Crunchy'],
  ['Digital_Ocean_PostgreSQL', 'DigitalOcean'], ['ApsaraDB_RDS', 'ApsaraDB RDS'],
];

/** The checks of a connection, in their order. */
const CHECKS = { dns: 'Name resolution', tcp: 'Network (TCP)', tls: 'Encryption (TLS)', login: 'Login', roundTrip: 'Round trip' };

/** Builds the step for this side. */
export function endpointStep({ place, changed, signal }, side) {
  const values = draft[side];
  const set = (key) => (value) => {
    values[key] = value;
    if (side === 'source' && key !== 'type') {
      draft.listed = null;
    }
    draft.errors = draft.errors.filter((error) => error.path !== `/${side}/${key}` && error.path !== `/${side}`);
    changed();
  };
  const at = (key) => `/${side}/${key}`;
  const host = field({ label: 'Host', required: true, path: at('host'), hint: 'A name or an address that this server can reach.', control: input(values.host, set('host'), { name: `${side}-host` }) });
  const port = field({ label: 'Port', required: true, path: at('port'), control: input(values.port, set('port'), { inputmode: 'numeric', name: `${side}-port`, class: 'narrow' }) });
  const user = field({ label: 'User', required: true, path: at('user'), control: input(values.user, set('user'), { name: `${side}-user` }) });
  const password = field({
    label: 'Password', path: at('password'), hint: 'Stored encrypted, and never shown again.',
    control: input(values.password, set('password'), { type: 'password', autocomplete: 'new-password', name: `${side}-password` }),
  });
  const database = field({ label: 'Database to log in to', path: at('database'), hint: 'Only to look around; which ones to move comes later.', control: input(values.database, set('database'), { name: `${side}-database` }) });
  const mode = field({ label: 'Encryption', path: at('sslMode'), control: select(values.sslMode, MODES, set('sslMode'), { name: `${side}-ssl` }) });
  const certificate = field({
    label: 'Certificate of the authority', path: at('caCertificate'), hint: 'PEM; only if the system does not know the authority.',
    control: textarea(values.caCertificate, set('caCertificate'), { class: 'mono', placeholder: '-----BEGIN CERTIFICATE-----' }),
  });
  const type = side === 'source' && field({ label: 'Kind of server', path: at('type'), control: select(values.type, TYPES, set('type')) });
  const result = h('div', { class: 'test-result', role: 'status', 'aria-live': 'polite' });
  const test = button('Test connection', async () => {
    const found = problems(side);
    if (found.length > 0) {
      const fields = [host, port, user, password, database, mode, certificate];
      for (const { path, detail } of found) {
        fields.find((entry) => entry.path === path)?.setError(detail);
      }
      fields.find((entry) => entry.path === found[0].path)?.control.focus();
      return;
    }
    await busy(test, () => testConnection(side, result, signal));
    test.focus();
  });
  fill(place,
    h('div', { class: 'grid host-port' }, host.node, port.node),
    h('div', { class: 'grid two' }, user.node, password.node),
    h('div', { class: 'grid two' }, database.node, type ? type.node : mode.node),
    type && h('div', { class: 'grid two' }, mode.node, h('div', {})),
    certificate.node,
    h('div', { class: 'test' }, test, result));
}

/** Asks the server to connect, and shows each of its checks. Gives whether none failed. */
export async function testConnection(side, result, signal) {
  fill(result, h('span', { class: 'spinner', 'aria-hidden': 'true' }), ' Connecting…');
  try {
    const answer = await post('/test-connection', endpointOf(side), { signal });
    const checks = answer?.checks ?? [];
    const sentence = { Succeeded: 'The connection works', Warning: 'The connection works, with a warning', Failed: 'The connection does not work' }[answer?.state];
    fill(result, h('p', { class: 'test-sum' },
      badge(sentence ?? words(answer?.state), { Succeeded: 'good', Warning: 'warn' }[answer?.state] ?? 'bad', { Succeeded: 'check', Warning: 'warning' }[answer?.state] ?? 'cross'),
      answer?.serverVersion && h('span', { class: 'sub' }, `PostgreSQL ${answer.serverVersion}`)),
    h('ul', { class: 'checks' }, checks.map((check) => h('li', {},
      plainBadge(check.state), h('span', { class: 'check-name' }, CHECKS[check.check] ?? words(check.check)),
      h('span', { class: 'check-text' }, check.message, check.remedy && h('span', { class: 'remedy' }, ` ${check.remedy}`)),
      typeof check.elapsedSeconds === 'number' && h('span', { class: 'sub nowrap' }, check.elapsedSeconds < 1 ? `${(check.elapsedSeconds * 1000).toFixed(1)} ms` : duration(check.elapsedSeconds))))));
    return answer?.state !== 'Failed';
  } catch (error) {
    if (!signal.aborted) {
      fill(result, problem(error));
    }
    return false;
  }
}
