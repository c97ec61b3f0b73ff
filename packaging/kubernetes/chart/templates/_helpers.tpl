{{- define "stateproxy.account" -}}
{{- .Values.serviceAccount.name | default .Release.Name -}}
{{- end }}

{{- define "stateproxy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "stateproxy.labels" -}}
{{ include "stateproxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* How the kubelet asks the sidecar: over HTTP where there is a listener, else by its own command. */}}
{{- define "stateproxy.asked" -}}
{{- if .root.Values.metrics.enabled -}}
httpGet: {path: {{ .path }}, port: metrics}
{{- else -}}
exec: {command: [/usr/bin/stateproxyctl, status]}
{{- end }}
{{- end }}

{{/* Keeps what the sidecar has open beyond its death: before it in the list, so that it ends after it. */}}
{{- define "stateproxy.holder" -}}
name: holder
restartPolicy: Always
image: {{ include "stateproxy.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [hold, --socket, /hold/stateproxy.sock, --deadline, {{ .Values.holder.deadline | quote }}]
securityContext:
  readOnlyRootFilesystem: true
  runAsUser: {{ include "stateproxy.user" . }}
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml .Values.holder.resources | nindent 2 }}
volumeMounts:
- {name: hold, mountPath: /hold}
{{- end }}

{{- define "stateproxy.image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default (ternary "mount" .Values.variant (eq .Values.mode "mount"))) | quote }}
{{- end }}

{{/* In mode csi the driver gives its socket to 65534. */}}
{{- define "stateproxy.user" -}}
{{ eq .Values.mode "mount" | ternary 0 (eq .Values.mode "csi" | ternary 65534 65532) }}
{{- end }}

{{/* The native sidecar: an init container that goes on. */}}
{{- define "stateproxy.sidecar" -}}
{{- $mount := eq .Values.mode "mount" -}}
{{- $csi := eq .Values.mode "csi" -}}
name: stateproxy
restartPolicy: Always
image: {{ include "stateproxy.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
{{- if $mount }}
- {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
- {name: STATE_MOUNT, value: {{ .Values.mount.path | quote }}}
- {name: STATEPROXY_MOUNT_CREATE, value: "true"}
{{- else if $csi }}
- {name: STATEPROXY_MOUNT_FD_SOCKET, value: /fuse/stateproxy.sock}
- {name: STATEPROXY_MOUNT_FD_PROTOCOL, value: meta-fuse}
{{- /* what it is called here; where it is, the volumeMounts of the program say */}}
- {name: STATE_MOUNT, value: {{ .Values.mount.path | quote }}}
- {name: STATEPROXY_MOUNT_UID, value: {{ .Values.csi.uid | quote }}}
- {name: STATEPROXY_MOUNT_GID, value: {{ .Values.csi.gid | quote }}}
{{- else }}
- {name: CONNECTOR_SOCKET, value: {{ .Values.connector.socket | quote }}}
{{- end }}
- {name: STATE_VARIANT, value: {{ .Values.variant }}}
- {name: STATE_BUCKET, value: {{ required "s3.bucket is required" .Values.s3.bucket | quote }}}
- {name: STATE_PREFIX, value: {{ .Values.s3.prefix | quote }}}
- {name: AWS_REGION, value: {{ .Values.s3.region | quote }}}
{{- with .Values.s3.endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
- {name: STATEPROXY_DAEMON_DRAIN_TIMEOUT, value: {{ printf "%ds" (int .Values.drainSeconds) | quote }}}
{{- if .Values.holder.enabled }}
- {name: STATEPROXY_DAEMON_HOLDER, value: /hold/stateproxy.sock}
{{- end }}
{{- if .Values.metrics.enabled }}
- {name: STATEPROXY_METRICS_LISTEN, value: {{ printf ":%d" (int .Values.metrics.port) | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- with .Values.s3.credentialsSecret }}
envFrom:
- secretRef: {name: {{ . | quote }}}
{{- end }}
{{- if .Values.metrics.enabled }}
ports:
- {name: metrics, containerPort: {{ .Values.metrics.port }}}
{{- end }}
startupProbe:
  {{- include "stateproxy.asked" (dict "root" . "path" "/readyz") | nindent 2 }}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: {{ ternary 180 120 $csi }}{{/* longer than mount.fd_timeout */}}
{{- /* not S3's health: a restart would not bring S3 back */}}
livenessProbe:
  {{- include "stateproxy.asked" (dict "root" . "path" "/livez") | nindent 2 }}
  periodSeconds: 30
  timeoutSeconds: 10
  failureThreshold: 3
securityContext:
  readOnlyRootFilesystem: true
{{- if $mount }}
  privileged: true
  runAsUser: 0
{{- else }}
  runAsUser: {{ include "stateproxy.user" . }}
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
{{- if $mount }}
- {name: state, mountPath: {{ dir .Values.mount.path | quote }}, mountPropagation: Bidirectional, subPathExpr: $(POD_UID)}
- {name: run, mountPath: /run}
{{- else }}
{{- if $csi }}
- {name: fuse, mountPath: /fuse}
{{- else }}
- {name: state-sockets, mountPath: {{ dir .Values.connector.socket | quote }}}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- end }}
- {name: spool, mountPath: /var/tmp}
{{- if .Values.holder.enabled }}
- {name: hold, mountPath: /hold}
{{- end }}
{{- end }}
