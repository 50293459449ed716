{{- define "gipfel.name" -}}
{{- printf "%s-gipfel" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "gipfel.selector" -}}
app.kubernetes.io/name: gipfel
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gipfel.labels" -}}
{{ include "gipfel.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
